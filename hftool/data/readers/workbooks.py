"""The sheets of workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods) to rows, with the numbers of their rows; by python-calamine."""

import datetime
import itertools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hftool.data.readers.containers import MAX_RATIO, MIN_BOMB, damaged_archive, split_part
from hftool.data.readers.csv_tsv import Cells, name_columns, number_columns
from hftool.errors import DataError, InputMissing, Refused, UsageError, listing

INSTALL = "pip install 'hftool-recipes[tables]'"


def read_workbook(path: Path, notes: list[str], names: Sequence[str] | None = None) -> tuple[tuple[str, ...], Iterator[Cells]]:
    """Read the sheet of a workbook that is named after #, else the first visible one that is not empty.

    A number without decimals is a whole number, a date and a time are texts as ISO 8601 has them, with a space between them.

    Args:
        path: The workbook, with or without a sheet.
        notes: A notice on other sheets is added to it.
        names: The columns of a sheet without a header, as in `read_delimited`.

    Returns:
        The columns, of the first row that is not blank, and the rows; those without any cell are blank lines.

    Raises:
        InputMissing: There is no such sheet.
        DataError: The workbook is damaged or empty, or its header cannot be used.
        UsageError: python-calamine is not installed.
        Refused: It expands out of proportion.
    """
    file, name = split_part(path)
    book = _open(file)
    full = [sheet for sheet in _visible(book) if book.get_sheet_by_name(sheet).height]
    if name and name not in book.sheet_names:
        raise InputMissing(f"'{file}' has no sheet '{name}'; it has {listing(book.sheet_names)}")
    if not full and not name:
        raise DataError(f"'{file}' has no sheet with cells; its sheets are {listing(book.sheet_names)}")
    if len(full) > 1 and not name:
        others = listing(sheet for sheet in full if sheet != full[0])
        notes.append(f"'{file}' has {len(full)} sheets: '{full[0]}' is read, not {others}; '{file}#NAME' reads another")
    rows = [[_text(cell) for cell in row] for row in book.get_sheet_by_name(name or full[0]).iter_rows()]
    used = [column for column in range(len(rows[0]) if rows else 0) if any(row[column] != "" for row in rows)]
    numbered = (Cells(i, _used(row, used)) for i, row in enumerate(rows, start=1))
    top = next((row for row in numbered if row.cells), None)
    if top is None:
        raise DataError(f"'{path}' is empty")
    if names is None:
        return name_columns([str(cell) for cell in top.cells], path), numbered
    return number_columns(names, len(top.cells), path), itertools.chain([top], numbered)


def _open(file: Path) -> Any:
    try:
        import python_calamine
    except ImportError:
        raise UsageError(f"'{file}' is read by the package python-calamine, which is not installed", INSTALL) from None
    try:
        if zipfile.is_zipfile(file):
            _check_size(file)
        return python_calamine.load_workbook(str(file))
    except (python_calamine.CalamineError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise damaged_archive(str(file), "a workbook", error) from None


def _check_size(file: Path) -> None:
    """Raise Refused for a workbook whose parts are declared to expand out of proportion."""
    with zipfile.ZipFile(file) as archive:
        total = sum(info.file_size for info in archive.infolist())
    if total > MIN_BOMB and total > MAX_RATIO * file.stat().st_size:
        what = f"'{file}' expands to over {MAX_RATIO} times its size, as no table does"
        raise Refused(what, "Save the sheet as CSV if you trust it")


def _visible(book: Any) -> list[str]:
    """The names of the visible sheets of cells; charts are none."""
    kinds = [(sheet.name, str(sheet.typ), str(sheet.visible)) for sheet in book.sheets_metadata]
    return [name for name, kind, shown in kinds if kind.endswith("WorkSheet") and shown.endswith("Visible")]


def _used(row: Sequence[Any], columns: Sequence[int]) -> list[Any]:
    """The cells of the used columns; [] for a blank row."""
    cells = [row[column] for column in columns]
    return cells if any(cell != "" for cell in cells) else []


def _text(cell: Any) -> Any:
    """A cell as people see it: 3 for 3.0, 2026-01-02 for a date, 30:00:00 for a duration."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, datetime.timedelta):
        seconds = round(cell.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(cell) if isinstance(cell, (datetime.date, datetime.time)) else cell
