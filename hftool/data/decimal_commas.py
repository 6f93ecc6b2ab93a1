"""Amounts as spreadsheets write them, with a decimal comma or a comma between thousands, to plain numbers."""

import re
from collections.abc import Callable
from dataclasses import replace

from hftool.data.columns import cell_of
from hftool.data.label_cells import is_mark
from hftool.data.readers.tables import Table
from hftool.data.schema import AROUND, DECIMAL, THOUSANDS, number_value
from hftool.errors import DataError

MOSTLY = 0.95  # share of the cells that must be numbers
POINTS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")  # 1.204, which is 1204 beside 3,75


def parse_decimal_commas(table: Table, column: str) -> tuple[Table, str]:
    """A table whose column of amounts holds plain numbers.

    Args:
        table: The table.
        column: Its column of labels.

    Returns:
        The table, and a sentence on what commas were taken for; the table as it is and "" where the column holds other things,
        or numbers without commas, or some with a decimal comma and some with a decimal point.

    Raises:
        DataError: The commas may part decimals or thousands, as those of 1,204.
    """
    cells = (cell.strip(AROUND) for row in table.rows if isinstance(cell := cell_of(row, column), str))
    texts = [text for text in cells if text and (number_value(text)[0] is not None or not is_mark(text))]
    commas = [text for text in texts if "," in text and (DECIMAL.fullmatch(text) or THOUSANDS.fullmatch(text))]
    others = [text for text in texts if "," not in text and number_value(text)[0] is not None]
    if not commas or len(commas) + len(others) < MOSTLY * len(texts):
        return table, ""
    decimals = [text for text in commas if not THOUSANDS.fullmatch(text)]
    thousands = [text for text in commas if not DECIMAL.fullmatch(text)]
    if not decimals and not thousands:
        raise DataError(
            f"column '{column}' of {table.path} holds numbers such as {commas[0]}, whose comma may part decimals or thousands",
            "Write them without it, or with a decimal point; --set labels=A,B,C if they are classes",
        )
    whole = all(text.lstrip("+-").isdecimal() or POINTS.fullmatch(text) for text in others)
    if decimals and (thousands or not whole):
        return table, ""
    if decimals:
        note = f"commas in column '{column}' of {table.path} are decimal: '{decimals[0]}' is {_from_decimal(decimals[0])}"
        return _rewritten(table, column, _from_decimal), note
    note = f"commas in column '{column}' of {table.path} part thousands: '{thousands[0]}' is {_from_thousands(thousands[0])}"
    return _rewritten(table, column, _from_thousands), note


def _from_decimal(text: str) -> str:
    if DECIMAL.fullmatch(text) or POINTS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    return text


def _from_thousands(text: str) -> str:
    return text.replace(",", "") if THOUSANDS.fullmatch(text) else text


def _rewritten(table: Table, column: str, change: Callable[[str], str]) -> Table:
    """The table with the cells of a column changed."""
    rows = [
        {**row, column: change(cell.strip(AROUND))} if isinstance(cell := row.get(column), str) else row for row in table.rows
    ]
    return replace(table, rows=rows)
