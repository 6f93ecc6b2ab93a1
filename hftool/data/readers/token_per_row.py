"""Tables with one word a row to sentences: the words and tags of a sentence become lists in one row."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hftool.data.column_names import by_name, by_words

SAMPLE = 256  # rows that are looked at before the first is given
FORM = "form"  # a word as CoNLL-U calls it
# sentence_id, "Sentence #", sent_no, sentence: what counts sentences, or gives them a name
SENTENCE = re.compile(r"(sentence|sent|sentences)([ _.-]?(#|id|ids|no|nr|num|number|idx|index|key))?", re.IGNORECASE)
OTHER = re.compile(r"(id|idx|index|doc(ument)?[ _]?(id)?|text[ _]?id|example[ _]?id|guid)", re.IGNORECASE)
LEAST_ROWS = 4
MOSTLY = 0.98


class Numbered(NamedTuple):
    """A row and where it begins; None is a blank line of the file."""

    number: int
    row: dict[str, Any] | None


class Grouping(NamedTuple):
    """How rows are sentences. word: the column of words. sentence: the column that says to which sentence a row belongs, ""
    where blank lines part them."""

    word: str
    sentence: str


def group_words(
    rows: Iterable[Numbered], columns: Sequence[str], path: str, notes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers as they are, or, where each holds one word, a row for each sentence whose cells are lists.

    Args:
        rows: The rows of a file in their order.
        columns: Its columns; () takes those of its first row.
        path: The file, for the note.
        notes: A sentence for the user is added when rows are grouped.
    """
    source = iter(rows)
    sample = list(itertools.islice(source, SAMPLE))
    full = [row for _, row in sample if row and _is_full(row)]
    grouping = find_grouping(full, columns or tuple(full[0] if full else ()), gaps=len(full) < len(sample))
    everything = itertools.chain(sample, source)
    if grouping is None:
        return ((number, row) for number, row in everything if row is not None)
    by = f"the column '{grouping.sentence}'" if grouping.sentence else "blank lines"
    notes.append(f"'{path}' has one word a row: the rows are read as sentences, parted by {by}")
    return _grouped(everything, grouping)


def find_grouping(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, gaps: bool) -> Grouping | None:
    """How the rows of a table with a word each are sentences; None when they are not. gaps: whether blank lines part some."""
    word = next(iter((*by_name(columns, "tokens"), *by_name(columns, FORM))), None)
    if word is None or len(rows) < LEAST_ROWS or not _are_words(rows, word):
        return None
    tag = next(iter((*by_name(columns, "tags"), *by_words(columns, "tags"))), None)
    if tag is not None and not _are_words(rows, tag):
        return None
    named = [name for name in columns if SENTENCE.fullmatch(str(name).strip()) and name not in (word, tag)]
    named += [name for name in columns if OTHER.fullmatch(str(name).strip()) and name not in (word, tag)]
    for name in named:
        if _borders(row.get(name) for row in rows) <= 0.67 * len(rows):
            return Grouping(word, name)
    return Grouping(word, "") if gaps and tag is not None else None


def _is_full(row: dict[str, Any]) -> bool:
    """Whether a row has a cell that is not empty; one that has none parts sentences."""
    return any(cell != "" for cell in row.values())


def _are_words(rows: Sequence[dict[str, Any]], column: str) -> bool:
    """Whether as good as every cell is at most one word."""
    return sum(_is_word(row.get(column)) for row in rows) >= MOSTLY * len(rows)


def _is_word(cell: Any) -> bool:
    """Whether a cell is no list and has no space between two words."""
    if isinstance(cell, (list, tuple, dict, bytes)):
        return False
    text = "" if cell is None else str(cell).strip()
    return not any(space in text for space in " \t\n") and not (len(text) > 2 and text[0] + text[-1] == "[]")


def _is_gap(cell: Any) -> bool:
    """Whether a cell says nothing: the row belongs to the sentence of the row before."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _borders(cells: Iterable[Any]) -> int:
    """How many sentences begin in a column."""
    named = [cell for cell in cells if not _is_gap(cell)]
    return sum(1 for _ in itertools.groupby(named))


def _grouped(rows: Iterable[Numbered], grouping: Grouping) -> Iterator[tuple[int, dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    begun, last = 0, None
    for number, row in rows:
        is_full = row is not None and _is_full(row)
        cell = row.get(grouping.sentence) if row and grouping.sentence else None
        ends = cell != last and not _is_gap(cell) if grouping.sentence else not is_full
        if ends and held:
            yield begun, _sentence(held, grouping)
            held = []
        last = last if _is_gap(cell) else cell
        if row is not None and is_full:
            begun = begun if held else number
            held.append(row)
    if held:
        yield begun, _sentence(held, grouping)


def _sentence(rows: Sequence[dict[str, Any]], grouping: Grouping) -> dict[str, Any]:
    """The rows of a sentence as one, its cells lists but for that of the sentence itself."""
    made: dict[str, Any] = {name: [row.get(name) for row in rows] for name in rows[0]}
    if grouping.sentence in made:
        made[grouping.sentence] = rows[0][grouping.sentence]
    return made
