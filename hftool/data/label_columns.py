"""One 0/1 column a label: several columns as one whose cells are lists of labels."""

from dataclasses import replace
from typing import Any

from hftool.data.column_contents import cell_of
from hftool.data.columns import has_column, missing_column
from hftool.data.label_cells import label_text
from hftool.data.readers.tables import Row, Table
from hftool.data.schema import excerpt
from hftool.errors import DataError, UsageError

YES, NO = ("1", "true"), ("0", "false")


def join_label_columns(table: Table, column: str) -> Table:
    """Join the 0/1 columns that `column` names, as in "joy,anger", to one column of that name with the labels of each row.

    Args:
        table: The rows; unchanged where there is a column of this name, or none of those columns.
        column: The names, separated by commas.

    Raises:
        UsageError: A name is empty or repeated.
        DataError: Some of the columns are missing, or have other values.
    """
    names = [name.strip() for name in column.split(",")]
    if len(names) < 2 or has_column(table.columns, column):
        return table
    twice = next((name for name in names if not name or names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the label columns '{column}' name '{twice}' more than once or not at all", "Correct --label A,B,C")
    missing = [name for name in names if not has_column(table.columns, name)]
    if len(missing) == len(names):
        return table
    if missing:
        raise missing_column(table.path, table.columns, missing[0], "label")
    rows = [_joined(row, names, column, table, number) for row, number in zip(table.rows, table.numbers, strict=True)]
    kept = tuple(name for name in table.columns if name not in names)
    return replace(table, columns=(*kept, column), rows=rows)


def _joined(row: Row, names: list[str], column: str, table: Table, number: int) -> Row:
    """The row with one cell in place of those columns."""
    labels = [name for name in names if _has_label(cell_of(row, name), name, table, number)]
    return {**{key: cell for key, cell in row.items() if key not in names}, column: labels}


def _has_label(cell: Any, name: str, table: Table, number: int) -> bool:
    value = (label_text(cell) or "").casefold()
    if value in (*YES, *NO):
        return value in YES
    what = f"{table.path}:{number}: column '{name}' holds '{excerpt(value)}', and a column of one label holds 0 or 1"
    raise DataError(what, "Correct the file, or name the columns of labels alone with --label A,B,C")
