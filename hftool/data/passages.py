"""Lines of running text to passages: what a language model is trained on is longer than a line."""

from collections.abc import Iterator
from dataclasses import replace

from hftool.data.readers.tables import Table
from hftool.data.schema import is_blank
from hftool.errors import DataError

LONGEST = 20  # times the length of a passage: a line beyond it is cut


def merge_lines(table: Table, characters: int = 2000) -> Table:
    """Consecutive lines as passages of about `characters` characters, each with the line on which it begins.

    A passage ends at a line end: the one before it would become too long. Blank lines stay inside as paragraph breaks. A
    line over 20 times as long is cut at a space, or, when it has none, where it must be. Joined by line ends the passages
    are the text, but for white space at their ends. Passages without a letter are left out. A table whose rows are no
    lines is returned as it is. Raises DataError when nothing is left.
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
    """(line, text) of each passage; leading blank lines are dropped, so that it begins where its text does."""
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
    """(line, text) of each line, its line end with it, or of each piece of a line that is too long."""
    for row, number in zip(table.rows, table.numbers, strict=True):
        line: str = row["text"] if row["text"].endswith("\n") else row["text"] + "\n"
        at, most = 0, LONGEST * characters
        while len(line) > most + 1 and len(line) - at > characters:
            space = line.rfind(" ", at + 1, at + characters)
            space = line.find(" ", at + characters, at + most) if space < 0 else space
            end = at + most if space < 0 else space + 1
            yield number, line[at:end]
            at = end
        if at < len(line):
            yield number, line[at:]
