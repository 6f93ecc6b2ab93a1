"""Rows with any number of labels: joined cells, lists, and 0/1 columns, as the same sets of ids."""

import numpy as np
import pytest

from conftest import one_line
from hftool.data.label_cells import free_separator, label_set, likely_separator
from hftool.data.label_columns import join_label_columns
from hftool.data.labels import check_separator, find_label_sets, find_labels, holds_lists
from hftool.data.readers.tables import Table
from hftool.data.rows import map_rows
from hftool.errors import DataError, UsageError

COLUMNS = {"text": "text", "label": "label"}


def table(labels, **kwargs):
    rows = [{"text": f"a film {i}", "label": label} for i, label in enumerate(labels)]
    return Table("train", "films.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)), **kwargs)


def ids(rows, separator="", mapping=COLUMNS, **kwargs):
    labels = find_label_sets(rows, mapping["label"], separator=separator, **kwargs)
    return labels.names, [row["label"] for row in map_rows(rows, mapping, labels).rows]


def refused(function, *given, **options):
    with pytest.raises((DataError, UsageError)) as caught:
        function(*given, **options)
    return one_line(f"{caught.value}\n")


def test_all_forms_give_the_same_sets_of_ids():
    expected = ("a", "b", "c"), [(0, 2), (), (1,), (1, 2)]
    assert ids(table(["c| a", "", "b", "b|c"]), "|") == expected
    assert ids(table([["c", "a"], [], ["b", "b"], np.array(["b", "c"])])) == expected
    assert ids(table([{"choices": ["a", "c"]}, None, "b", ("c", "b")])) == expected
    cells = [
        {"c": 1, "a": "1", "b": 0},
        {"c": 0, "a": 0, "b": "0"},
        {"c": "0.0", "a": "false", "b": True},
        {"c": 1.0, "a": 0, "b": 1},
    ]
    columns = Table("train", "films.csv", ("text", "c", "a", "b"), [{"text": "a", **row} for row in cells], [2, 3, 4, 5])
    joined = join_label_columns(columns, "c,a, b")
    assert joined.columns == ("text", "c,a, b") and ids(joined, mapping={"text": "text", "label": "c,a, b"}) == expected


def test_order_is_sorted_or_as_given_and_names_are_those_of_the_source():
    rows = table(["b|a", "a", "c|b"])
    assert ids(rows, "|", ordered=("c", "a", "b"))[0] == ("c", "a", "b")
    assert refused(find_label_sets, rows, "label", separator="|", ordered=("c", "a")).endswith("Correct --set labels=A,B,C")
    named = table([[2, 0], [1]], label_names={"label": ("joy", "anger", "wonder")})
    assert ids(named) == (("joy", "anger", "wonder"), [(0, 2), (1,)])


def test_a_column_that_no_row_has_is_a_label_all_the_same():
    rows = [{"text": "a", "a": 1, "b": 0, "c": 0}, {"text": "b", "a": 0, "b": 1, "c": 0}]
    joined = join_label_columns(Table("train", "t.csv", ("text", "a", "b", "c"), rows, [2, 3]), "a,b,c")
    assert find_label_sets(joined, "a,b,c").names == ("a", "b", "c")


def test_a_mark_is_a_missing_label_and_an_empty_cell_is_none():
    labels = find_label_sets(table(["a|b", "b", *["a"] * 30, "n/a"]), "label", separator="|")
    part = map_rows(table(["n/a", "", *["B | a"] * 99]), COLUMNS, labels)
    assert ([one.reason for one in part.rejected], part.rows[0]["label"], part.rows[1]["label"]) == (["no label"], (), (0, 1))
    assert part.spelled == {"B": "b"}


@pytest.mark.parametrize(
    ("cells", "separator", "message"),
    [
        (["a|b", "a"], ";", "no cell of column 'label' of films.csv holds the separator ';'"),
        (["a|", "a"], "|", "films.csv has only one label in column 'label': 'a'"),
        ([[], []], "", "films.csv has no label in 'label'"),
    ],
)
def test_what_cannot_be_several_labels_is_one_line(cells, separator, message):
    assert message in refused(find_label_sets, table(cells), "label", separator=separator)


def test_an_unknown_label_names_the_flag_where_it_looks_joined():
    labels = find_label_sets(table(["a|b", "b"]), "label", separator="|")
    assert "the label 'a;b' is not one of" in refused(map_rows, table(["a;b", "a"]), COLUMNS, labels)
    assert refused(map_rows, table(["a;b", "a"]), COLUMNS, labels).endswith("; or name --labels-sep")
    assert refused(check_separator, table(["a|b"]), "label", ";").endswith("choose the column with --label")


@pytest.mark.parametrize(
    ("columns", "row", "message"),
    [
        ("a,b", {"a": 1, "b": 2}, "t.csv:2: column 'b' holds '2', and a column of one label holds 0 or 1"),
        ("a,b", {"a": "", "b": 1}, "t.csv:2: column 'a' holds ''"),
        ("a,x", {"a": 1, "b": 1}, "t.csv has no column 'x'; it has 'text', 'a', 'b'"),
        ("a,a", {"a": 1, "b": 1}, "name 'a' more than once"),
        ("a,", {"a": 1, "b": 1}, "name '' more than once or not at all"),
    ],
)
def test_label_columns_that_do_not_fit_are_one_line(columns, row, message):
    rows = Table("train", "t.csv", ("text", "a", "b"), [{"text": "t", **row}], [2])
    assert message in refused(join_label_columns, rows, columns)


def test_other_tables_stay_as_they_are():
    rows = Table("test", "t.csv", ("text", "a,b"), [{"text": "t", "a,b": "x"}], [2])
    assert join_label_columns(rows, "a,b") is rows and join_label_columns(rows, "c,d") is rows
    assert join_label_columns(rows, "text") is rows


def test_only_real_lists_are_recognized_by_type():
    assert holds_lists(table([["a"], None]), "label") and holds_lists(table(["a", ("a", "b")]), "label")
    assert not holds_lists(table(["['a', 'b']", "a"]), "label") and not holds_lists(table([[{"start": 0}]]), "label")


def test_joined_classes_are_noticed_and_never_split_by_themselves():
    labels = find_labels(table(["joy|love", "love|wonder", "joy|wonder"] * 3), "label")
    assert len(labels.names) == 3 and not labels.several
    assert labels.notes == ("classes of column 'label' look like several labels joined by '|': --labels-sep '|' reads them so",)
    assert "--labels-sep '#'" in refused(find_labels, table(["a#b", "a", "b"] * 4), "label")
    assert likely_separator(["Sci/Tech", "Business"]) == likely_separator(["1,5", "1,7"]) == likely_separator([]) == ""


def test_separator_of_answers_is_in_no_label():
    assert free_separator(["a", "b"]) == "|" and free_separator(["a|b", "c"]) == ";"
    assert label_set("a|b", "") == ["a|b"] and label_set(3.0) == ["3"] and label_set(float("nan")) == []
