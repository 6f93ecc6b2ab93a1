"""hftool/data/decimal_commas.py: numbers with commas are continuous labels; ambiguous ones are an error."""

import pytest

from hftool.data.decimal_commas import parse_decimal_commas
from hftool.data.readers.tables import Table
from hftool.data.schema import RowSchema
from hftool.data.splits import SplitOptions, build_splits
from hftool.errors import DataError

SHAPE = RowSchema(("text",), ("label",))


def table(cells, times=4):
    rows = [{"text": f"film number {i}", "label": cell} for i, cell in enumerate([*cells] * times)]
    return Table("train", "a.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)))


def splits(cells, ordered=()):
    options = SplitOptions((SHAPE,), {}, {}, (), ordered, None, 0, 0.25, False)
    return build_splits({"train": table(cells)}, options)


@pytest.mark.parametrize(
    ("cells", "low", "high", "note"),
    [
        (["3,75", "4,5", "1,25"], 1.25, 4.5, "are decimal: '3,75' is 3.75"),
        (["-0,5", "2", "1,75"], -0.5, 2.0, "are decimal: '-0,5' is -0.5"),
        (["1.204,50", "950,00", "1.300"], 950.0, 1300.0, "are decimal: '1.204,50' is 1204.50"),
        (["1,204.50", "2,300", "950"], 950.0, 2300.0, "separate thousands: '1,204.50' is 1204.50"),
        (["1,204,300", "2,300", "7"], 7.0, 1204300.0, "separate thousands: '1,204,300' is 1204300"),
        (["0,375", "1,204", "2,5"], 0.375, 2.5, "are decimal: '0,375' is 0.375"),
        ([" 3,75 ", "\ufeff4,5", "5"], 3.75, 5.0, "are decimal: '3,75' is 3.75"),
    ],
)
def test_decimal_and_thousands_commas_are_parsed_and_reported(cells, low, high, note):
    result = splits(cells)
    assert result.labels.range == (low, high)
    assert f"commas in column 'label' of a.csv {note}" in result.notices


@pytest.mark.parametrize("cells", [["1,204", "2,300", "3,100"], ["1,204", "950", "12,500"], ["-1,000", "1,000"]])
def test_ambiguous_decimal_or_thousands_comma_is_an_error(cells):
    with pytest.raises(DataError) as caught:
        splits(cells)
    assert f"holds numbers such as {cells[0]}: a decimal comma, or a thousands separator" in caught.value.detail
    assert splits(cells, ordered=sorted(cells)).labels.names == tuple(sorted(cells))  # classes, as the hint says


@pytest.mark.parametrize(
    "cells", [["a,b", "c,d"], ["3,75", "good", "bad"], ["3,75", "4.5"], ["3.75", "4.5"], ["1", "2"], ["", "x"]]
)
def test_columns_that_are_not_numbers_are_unchanged(cells):
    before = table(cells)
    assert parse_decimal_commas(before, "label") == (before, "")
