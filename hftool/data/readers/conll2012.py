"""CoNLL-2012, as OntoNotes is published: a word a line with its entities in brackets, (PERSON* and *), to words and tags."""

import re
from collections.abc import Iterator
from pathlib import Path

from hftool.data.readers.containers import open_text
from hftool.data.tag_schemes import OUTSIDE
from hftool.errors import DataError

FIRST = "#begin document"
WORD, ENTITIES, WIDTH = 3, 10, 12  # indices of columns; after that of entities are those of each predicate, then coreference
BRACKETS = re.compile(r"(?:\(([^()*]+))?\*?(\))?")
HIDDEN = "[WORD]"  # in the files without words that are free of the licence of OntoNotes

Sentence = tuple[int, list[str], list[str], str]  # first line, words, tags, why it cannot be used


def read_conll2012(path: Path, codec: str, *, tokens: int | None = None, tags: int | None = None) -> Iterator[Sentence]:
    """Yield the sentences; tags are in IOB2. `tokens` and `tags` are numbers of other columns, from 1.

    Raises:
        DataError: The file has no words, or lines of too few columns.
    """
    word, chosen = (WORD if tokens is None else tokens - 1), (ENTITIES if tags is None else tags - 1)
    first, rows = 0, list[list[str]]()
    with open_text(path, codec) as handle:
        for number, line in enumerate(handle, start=1):
            cells = line.split()
            if cells and not line.startswith("#"):
                first = first or number
                if len(cells) < max(WIDTH, chosen + 1, word + 1) or cells[word] == HIDDEN:
                    what = "has no words" if HIDDEN in cells else f"has {len(cells)} columns"
                    raise DataError(f"'{path}': line {number} {what}", "Known is CoNLL-2012 with its words, 12 columns or more")
                rows.append(cells)
            elif rows:
                yield _sentence(first, rows, word, chosen)
                first, rows = 0, []
    if rows:
        yield _sentence(first, rows, word, chosen)


def _sentence(number: int, rows: list[list[str]], word: int, column: int) -> Sentence:
    words, cells = [row[word] for row in rows], [row[column] for row in rows]
    if column != ENTITIES:
        return number, words, cells, ""
    tags, kind, reason = [], "", ""
    for cell in cells:
        found = BRACKETS.fullmatch(cell)
        if found is None or (found[1] and kind) or (found[2] and not (kind or found[1])):
            reason = reason or f"'{cell}' opens or closes no entity"
            continue
        kind = found[1] or kind
        tags.append(f"{'B' if found[1] else 'I'}-{kind}" if kind else OUTSIDE)
        kind = "" if found[2] else kind
    return number, words, tags, reason or ("an entity is not closed" if kind else "")
