"""Merges lines of running text into passages long enough to train a language model on."""

from collections.abc import Iterator
from dataclasses import replace

from hftool.data.readers.tables import Table
from hftool.data.schema import is_blank
from hftool.errors import DataError

MAX_LENGTH_FACTOR = 20  # a line longer than this many passages is split


def merge_lines(table: Table, characters: int = 2000) -> Table:
    """Merge consecutive lines into passages of about `characters` characters; a table without lines is returned unchanged.

    A passage ends at the last line end before it would grow too long. Blank lines stay inside as paragraph breaks; a line over
    20 times as long is split at spaces, or anywhere if it has none. Passages without a letter are left out; apart from those
    and white space at their ends, the passages joined by line ends are the text.

    Raises:
        DataError: The table holds only white space.
    """
    if not table.lines:
        return table
    rows, numbers = [], []
    for number, passage in _passages(_parts(table, characters), characters):
        if not is_blank(passage):
            rows.append({"text": passage.rstrip()})
            numbers.append(number)
    if not rows:
        raise DataError(f"'{table.path}' holds nothing but white space")
    return replace(table, rows=rows, numbers=numbers, lines=False)


def _passages(parts: Iterator[tuple[int, str]], characters: int) -> Iterator[tuple[int, str]]:
    """(line number, text) of each passage, without leading blank lines so that the number is that of its text."""
    held: list[str] = []
    first, size = 0, 0
    for number, part in parts:
        if held and size + len(part.rstrip()) > characters:
            yield first, "".join(held)
            held, size = [], 0
        if not held:
            if not part.strip():
                continue
            first = number
        held.append(part)
        size += len(part)
    if held:
        yield first, "".join(held)


def _parts(table: Table, characters: int) -> Iterator[tuple[int, str]]:
    """(line number, text) of each line with its line end, or of each part of a line that is too long."""
    longest = MAX_LENGTH_FACTOR * characters
    for row, number in zip(table.rows, table.numbers, strict=True):
        line: str = row["text"] if row["text"].endswith("\n") else row["text"] + "\n"
        start = 0
        while len(line) > longest + 1 and len(line) - start > characters:
            space = line.rfind(" ", start + 1, start + characters)
            space = line.find(" ", start + characters, start + longest) if space < 0 else space
            end = start + longest if space < 0 else space + 1
            yield number, line[start:end]
            start = end
        if start < len(line):
            yield number, line[start:]
