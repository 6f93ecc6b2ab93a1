"""Tables with one token per row to one row per sentence, whose cells are lists."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hftool.data.column_names import by_name, by_words

SAMPLE_ROWS = 256  # rows read before the first is yielded
FORM = "form"  # CoNLL-U's column of words
# sentence_id, "Sentence #", sent_no, sentence: numbers or names of sentences
SENTENCE = re.compile(r"(sentence|sent|sentences)([ _.-]?(#|id|ids|no|nr|num|number|idx|index|key))?", re.IGNORECASE)
OTHER = re.compile(r"(id|idx|index|doc(ument)?[ _]?(id)?|text[ _]?id|example[ _]?id|guid)", re.IGNORECASE)
MIN_ROWS = 4
MIN_WORD_SHARE = 0.98  # share of the cells that must be single words


class Numbered(NamedTuple):
    """A row, in JSON any value, and its line number; None is a blank line."""

    number: int
    row: Any


class Grouping(NamedTuple):
    """The column of words, and that of the sentence id, "" if blank lines separate sentences."""

    word: str
    sentence: str


def group_words(
    rows: Iterable[Numbered], columns: Sequence[str], path: str, notes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row): the rows unchanged, or one per sentence, with a notice, if each holds one word."""
    source = iter(rows)
    sample = list(itertools.islice(source, SAMPLE_ROWS))
    full = [row for _, row in sample if row and _is_full(row)]
    grouping = find_grouping(full, columns or tuple(full[0] if full else ()), gaps=len(full) < len(sample))
    everything = itertools.chain(sample, source)
    if grouping is None:
        return ((number, row) for number, row in everything if row is not None)
    by = f"the column '{grouping.sentence}'" if grouping.sentence else "blank lines"
    notes.append(f"'{path}' has one word a row: the rows are read as sentences, separated by {by}")
    return _grouped(everything, grouping)


def find_grouping(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, gaps: bool) -> Grouping | None:
    """How to group the rows of a table into sentences; None if a row is not one word. `gaps`: whether there are blank lines."""
    word = next(iter((*by_name(columns, "tokens"), *by_name(columns, FORM))), None)
    if word is None or len(rows) < MIN_ROWS or not _are_words(rows, word):
        return None
    tag = next(iter((*by_name(columns, "tags"), *by_words(columns, "tags"))), None)
    if tag is not None and not _are_words(rows, tag):
        return None
    named = [name for name in columns if SENTENCE.fullmatch(str(name).strip()) and name not in (word, tag)]
    named += [name for name in columns if OTHER.fullmatch(str(name).strip()) and name not in (word, tag)]
    for name in named:
        if _count_runs(row.get(name) for row in rows) <= 0.67 * len(rows):
            return Grouping(word, name)
    return Grouping(word, "") if gaps and tag is not None else None


def _is_full(row: dict[str, Any]) -> bool:
    """Whether a row has a cell that is not empty; an empty row separates sentences."""
    return any(cell != "" for cell in row.values())


def _are_words(rows: Sequence[dict[str, Any]], column: str) -> bool:
    """Whether nearly every cell is at most one word."""
    return sum(_is_word(row.get(column)) for row in rows) >= MIN_WORD_SHARE * len(rows)


def _is_word(cell: Any) -> bool:
    """Whether a cell is not a list and has no inner space."""
    if isinstance(cell, (list, tuple, dict, bytes)):
        return False
    text = "" if cell is None else str(cell).strip()
    return not any(space in text for space in " \t\n") and not (len(text) > 2 and text[0] + text[-1] == "[]")


def _is_gap(cell: Any) -> bool:
    """Whether a cell is empty: the row belongs to the sentence of the previous row."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _count_runs(cells: Iterable[Any]) -> int:
    """The number of sentences in a column of sentence ids."""
    return sum(1 for _ in itertools.groupby(cell for cell in cells if not _is_gap(cell)))


def _grouped(rows: Iterable[Numbered], grouping: Grouping) -> Iterator[tuple[int, dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    first, last = 0, None
    for number, row in rows:
        is_full = row is not None and _is_full(row)
        cell = row.get(grouping.sentence) if row and grouping.sentence else None
        ends = cell != last and not _is_gap(cell) if grouping.sentence else not is_full
        if ends and held:
            yield first, _sentence(held, grouping)
            held = []
        last = last if _is_gap(cell) else cell
        if row is not None and is_full:
            first = first if held else number
            held.append(row)
    if held:
        yield first, _sentence(held, grouping)


def _sentence(rows: Sequence[dict[str, Any]], grouping: Grouping) -> dict[str, Any]:
    """One row with lists as cells, except for the sentence id."""
    merged: dict[str, Any] = {name: [row.get(name) for row in rows] for name in rows[0]}
    if grouping.sentence in merged:
        merged[grouping.sentence] = rows[0][grouping.sentence]
    return merged
