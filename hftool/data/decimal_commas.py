"""Numbers with decimal commas or thousands separators, as spreadsheets export them, to plain numbers."""

import re
from collections import Counter
from dataclasses import replace

from hftool.data.column_contents import MIN_TYPE_SHARE, cell_of
from hftool.data.label_cells import is_mark
from hftool.data.readers.tables import Table
from hftool.data.schema import AROUND, DECIMAL, THOUSANDS, number_value
from hftool.errors import DataError

POINTS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")  # 1.204, which is 1204 where other cells are like 3,75


def parse_decimal_commas(table: Table, column: str) -> tuple[Table, str]:
    """Convert a column of numeric labels to plain numbers.

    Returns:
        The table, and a sentence on how commas were read. The table unchanged and "" if the column holds other things, or
        numbers without commas, or decimal commas and decimal points mixed.

    Raises:
        DataError: The commas are ambiguous, as in 1,204.
    """
    counts = Counter(cell.strip(AROUND) for row in table.rows if isinstance(cell := cell_of(row, column), str))
    texts = [text for text in counts if text and (number_value(text)[0] is not None or not is_mark(text))]
    commas = [text for text in texts if "," in text and (DECIMAL.fullmatch(text) or THOUSANDS.fullmatch(text))]
    others = [text for text in texts if "," not in text and number_value(text)[0] is not None]
    numbers, total = (sum(counts[text] for text in some) for some in ([*commas, *others], texts))
    if not commas or numbers < MIN_TYPE_SHARE * total:
        return table, ""
    decimals = [text for text in commas if not THOUSANDS.fullmatch(text)]
    thousands = [text for text in commas if not DECIMAL.fullmatch(text)]
    if not decimals and not thousands:
        what = f"column '{column}' of {table.path} holds numbers such as {commas[0]}: a decimal comma, or a thousands separator"
        raise DataError(what, "Leave it out, or use a decimal point; --set labels=A,B,C if they are classes")
    whole = all(text.lstrip("+-").isdecimal() or POINTS.fullmatch(text) for text in others)
    if decimals and (thousands or not whole):
        return table, ""
    convert, example = (_from_decimal, decimals[0]) if decimals else (_from_thousands, thousands[0])
    meaning = "are decimal" if decimals else "separate thousands"
    note = f"commas in column '{column}' of {table.path} {meaning}: '{example}' is {convert(example)}"
    cells = [(row, row.get(column)) for row in table.rows]
    rows = [{**row, column: convert(cell.strip(AROUND))} if isinstance(cell, str) else row for row, cell in cells]
    return replace(table, rows=rows), note


def _from_decimal(text: str) -> str:
    if DECIMAL.fullmatch(text) or POINTS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    return text


def _from_thousands(text: str) -> str:
    return text.replace(",", "") if THOUSANDS.fullmatch(text) else text
