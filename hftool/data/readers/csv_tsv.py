"""CSV and TSV files to cells, line by line: a malformed row never affects the rows after it."""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from hftool.data.readers.containers import open_text
from hftool.errors import DataError, listing

MAX_FIELD = 2**31 - 1  # characters; the csv module's own limit of 131,072 is too short for documents
MAX_QUOTED = 1 << 24  # characters of a row over several lines; beyond it a quotation mark was never closed
UNCLOSED = "a quotation mark is opened and not closed"
SAMPLE_CHARACTERS = 1 << 20  # from which quoting is detected
SEPARATOR = re.compile(r'\ufeff?"?sep=(.)"?[\r\n]*', re.IGNORECASE)  # the first line of an Excel export
QUOTED = re.compile(r'"(?:[^"]|"")*"')
QUOTED_CELL = re.compile(r'(?:^|(?<=\t))"(?:[^"]|"")*"(?=[\t\r\n]|\Z)', re.MULTILINE)


class Cells(NamedTuple):
    """The cells of a row, its first line number, and the reason why it cannot be used, "" if it can."""

    number: int
    cells: list[str]
    reason: str = ""


def read_delimited(
    path: Path, *, quoted: bool, codec: str, notes: list[str], names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Iterator[Cells]]:
    """Read the header of a CSV or TSV file.

    Args:
        path: The file.
        quoted: CSV: the delimiter is a comma, a semicolon, a tab or a bar, or that of a first line "sep=;". Otherwise TSV
            without quoting, as in GLUE, where a lone quotation mark is text, unless header or cells are quoted as in CSV.
        codec: Its encoding.
        notes: A notice on a quoted TSV file is added to it.
        names: The columns of a file without a header, () for "column 1", "column 2"; None: the first line has them.

    Returns:
        The columns and a lazy iterator of rows; a blank line has no cells.

    Raises:
        DataError: The header cannot be used, or the first row has another number of cells than there are names.
    """
    csv.field_size_limit(MAX_FIELD)
    with open_text(path, codec, "") as handle:
        first = handle.readline()
        separator = SEPARATOR.fullmatch(first)
        header = handle.readline() if separator else first
        delimiter = separator[1] if separator else _delimiter(header, names or ()) if quoted else "\t"
        if not quoted and _is_quoted(header, handle.read(SAMPLE_CHARACTERS)):
            quoted = True
            notes.append(f"'{path}' has its cells in quotation marks, as CSV: they are no part of the texts")
    records = _records(path, delimiter, quoted=quoted, codec=codec)
    if separator:
        next(records)
    top = next(records, Cells(1, []))
    if top.reason:
        raise DataError(f"'{path}' has a {'first row' if names is not None else 'header'} that cannot be read: {top.reason}")
    if names is None:
        return name_columns(top.cells, path), records
    return number_columns(names, len(top.cells), path), itertools.chain([_without_bom(top)], records)


def read_lines(path: Path, codec: str) -> Iterator[Cells]:
    """Each line of a file without header and quoting, whose cells are separated by tabs."""
    return _records(path, "\t", quoted=False, codec=codec)


def _delimiter(header: str, names: Sequence[str]) -> str:
    """The delimiter that gives as many cells as there are names, else the most frequent one: exports use ; and tab as well."""
    bare = re.sub('"[^"]*"', "", header)
    return next((one for one in ",;\t|" if names and bare.count(one) == len(names) - 1), max(",;\t|", key=bare.count))


def _without_bom(top: Cells) -> Cells:
    return top._replace(cells=[top.cells[0].lstrip("\ufeff"), *top.cells[1:]]) if top.cells else top


def number_columns(names: Sequence[str], width: int, path: Path) -> tuple[str, ...]:
    """The columns of a table without a header: the names, else "column 1" and so on.

    Raises:
        DataError: There are more or fewer names than cells in the first row, or one is repeated.
    """
    if names and len(names) != width:
        what = f"'{path}' has {width} cells in its first row, and --columns has {len(names)} names: {listing(names)}"
        raise DataError(what, "Name each column once")
    return name_columns(names or [f"column {number}" for number in range(1, width + 1)], path)


def name_columns(cells: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names of columns from the cells of a header; those without one are called "column 2".

    Raises:
        DataError: The header is blank, or repeats a name.
    """
    names = [name.strip("\ufeff \t\r\n") for name in cells]
    if not any(names):
        raise DataError(f"'{path}' has no header: its first line is empty")
    columns = tuple(name or f"column {number}" for number, name in enumerate(names, start=1))  # pandas' index has no name
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"'{path}' has the column '{twice[0]}' more than once", "Rename one of them")
    return columns


def _is_quoted(header: str, sample: str) -> bool:
    """Whether a TSV file quotes as CSV does: its whole header, or each cell that has a quotation mark.

    The latter counts only if a cell holds a doubled mark, or if lines have another number of cells without quoting.
    """
    names = header.strip("\ufeff\r\n").split("\t")
    if all(QUOTED.fullmatch(name) for name in names):
        return True
    if len(sample) == SAMPLE_CHARACTERS:  # up to the last line end outside of quotes
        ends = (found.end() for found in re.finditer("\n", sample))
        sample = sample[: max((end for end in list(ends)[-100:] if sample.count('"', 0, end) % 2 == 0), default=0)]
    cells = QUOTED_CELL.findall(sample)
    if not cells or '"' in QUOTED_CELL.sub("", sample):
        return False
    ragged = any(line.strip("\r") and line.count("\t") != len(names) - 1 for line in sample.split("\n"))
    return ragged or any('""' in cell[1:-1] for cell in cells)


class _Lines:
    """The lines of a file; those of the current row are kept so that they can be read again."""

    def __init__(self, handle: IO[str]) -> None:
        self.handle = handle
        self.pending: deque[str] = deque()
        self.held: list[str] = []
        self.size = 0  # characters held
        self.number = 0  # of the last line read
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.pending.popleft() if self.pending else next(self.handle, "")
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self.size += len(line)
        self.held.append(line)
        if self.size > MAX_QUOTED and len(self.held) > 1:
            raise csv.Error(UNCLOSED)
        return line

    def start(self) -> int:
        """Start a row and return its line number."""
        self.held, self.size, self.ended = [], 0, False
        return self.number + 1

    def unread(self) -> None:
        """Return all held lines but the first to the input."""
        self.pending.extendleft(reversed(self.held[1:]))
        self.number -= len(self.held) - 1


def _records(path: Path, delimiter: str, *, quoted: bool, codec: str) -> Iterator[Cells]:
    with open_text(path, codec, "") as handle:
        lines = _Lines(handle)
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, strict=True)
        while True:
            number = lines.start()
            try:
                yield Cells(number, next(reader))
            except StopIteration:
                return
            except csv.Error:
                cells = _lenient_cells(lines, delimiter)
                if cells:
                    yield Cells(number, cells)
                else:  # lines that a lone mark swallowed are separate rows
                    yield Cells(number, lines.held[:1], UNCLOSED)
                    lines.unread()


def _lenient_cells(lines: _Lines, delimiter: str) -> list[str]:
    """The cells of a line such as `"good" film,1` if its quotes end in it, else []."""
    if len(lines.held) > 1 or lines.ended:
        return []
    cells = next(csv.reader(lines.held, delimiter=delimiter))
    return [] if any("\n" in cell or "\r" in cell for cell in cells) else cells
