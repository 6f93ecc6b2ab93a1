"""hftool/data/label_cells.py and its callers: spelling variants, several labels in a cell, marks for a missing label."""

from collections import Counter

import pytest

from hftool.data.label_cells import find_joined, listed_labels, merge_spellings, without_marks
from hftool.data.labels import find_labels
from hftool.data.readers.tables import Table
from hftool.data.rows import map_rows
from hftool.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def table(labels, split="train", **named):
    rows = [{"text": f"a film {i}", "label": label} for i, label in enumerate(labels)]
    return Table(split, f"{split}.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)), **named)


def prepared(labels, **named):
    result = table(labels)
    return map_rows(result, COLUMNS, find_labels(result, "label", **named))


# ---- several in a cell


@pytest.mark.parametrize(
    ("two", "how"),
    [
        ("negative#positive", "joined by '#'"),  # doccano
        ("positive|negative", "joined by '|'"),
        ("positive;negative", "joined by ';'"),
        ("positive, negative", "joined by ','"),
        ("Positive / Negative", "joined by '/'"),
        ("negative#C##positive", "joined by '#'"),
        ('{"choices":["positive","negative"]}', "in a list"),  # Label Studio
        ('["positive", "negative"]', "in a list"),
        (["positive", "negative"], "in a list"),
        ({"choices": ["positive", "negative"]}, "in a list"),
    ],
)
def test_rows_with_two_classes_are_named_with_their_count_and_what_joins_them(two, how):
    labels = ["positive", "negative", "C#"] * 10
    labels[4] = labels[9] = two
    with pytest.raises(DataError) as caught:
        find_labels(table(labels), "label")
    assert caught.value.detail.startswith(f"2 of 30 rows of train.csv have several classes in column 'label', {how}; ")
    assert "the first is line 6: " in caught.value.detail and "--set labels=A,B,C" in caught.value.hint


@pytest.mark.parametrize(
    "labels",
    [
        ["C#", "F#", "C"],
        ["R&D", "sales", "it"],
        ["a/b", "c/d", "e"],
        ["World", "Sci/Tech", "Business", "Sports"],
        ["not equal; far", "equal"],
        ["1,5", "1", "5", "2"],  # a decimal comma
        ["4/5", "4", "5"],
        ["C++", "C", "D"],
        ["Bosnia, Serbia", "Bosnia and Serbia", "Serbia"],
    ],
)
def test_classes_that_merely_hold_a_separator_are_classes(labels):
    assert find_joined(labels) == {}
    assert set(find_labels(table(labels * 4), "label").names) == set(labels)


def test_two_classes_together_are_a_class_when_the_user_lists_them():
    labels = ("negative", "positive", "negative#positive")
    assert find_labels(table(labels * 3), "label", ordered=labels).names == labels
    assert (
        listed_labels('{"choices": ["one"]}') == listed_labels('["one"]') == listed_labels("[ok") == listed_labels("{}") == []
    )


# ---- marks for none


@pytest.mark.parametrize("mark", ["-", "?", "N/A", "n/a", "NA", "#N/A", "-1"])
def test_a_rare_mark_among_words_is_no_class(mark):
    """As the 785 pairs of SNLI on which nobody agreed."""
    part = prepared([*["entailment", "neutral", "contradiction"] * 12, mark, mark])
    assert (len(part.rows), [one.reason for one in part.rejected]) == (36, ["no label"] * 2)
    assert part.sentences() == ["2 rows of train have no label and are left out"]


@pytest.mark.parametrize(
    "labels",
    [
        ["+", "-"] * 20,
        [*["+"] * 40, "-"],
        ["EU", "US", "NA"] * 10,
        [*["-1", "0", "1"] * 9, "1", "0"],
        [*["0", "1"] * 20, "-1"],  # a bad film among others: nothing says that it is none
        ["yes", "no", "?"] * 9,
        ["none", "some", "some", "none", "all", "all"],
    ],
)
def test_a_mark_that_is_as_good_as_another_class_is_one(labels):
    assert set(find_labels(table(labels), "label").names) == set(labels)


def test_a_list_of_classes_decides_which_marks_are_none():
    half = ["a", "b", "-", "?"] * 5
    assert without_marks(Counter(half), {"a", "b"}) == Counter(a=5, b=5)
    assert find_labels(table(half), "label", ordered=("b", "a")).names == ("b", "a")
    assert find_labels(table(half), "label", ordered=("a", "b", "-", "?")).names == ("a", "b", "-", "?")
    assert find_labels(table(half), "label", known=(("0", "a"), ("1", "b"))).names == ("a", "b")
    assert find_labels(table(half), "label").names == ("-", "?", "a", "b")  # half of all rows
    validation = map_rows(table(["a", "-", "b"], "validation"), COLUMNS, find_labels(table(["a", "b"] * 5), "label"))
    assert validation.sentences() == ["1 rows of validation have no label and are left out"]


# ---- spellings


@pytest.mark.parametrize(
    ("labels", "names", "spelled"),
    [
        (["Positive ", "positive", "positive", "negative"], ("negative", "positive"), {"Positive": "positive"}),
        (["POS", "pos", "POS", "neg"], ("POS", "neg"), {"pos": "POS"}),
        (["very  good", "very good", "bad", "very good"], ("bad", "very good"), {"very  good": "very good"}),
        (["STRASSE", "straße", "straße", "weg"], ("straße", "weg"), {"STRASSE": "straße"}),
        ([True, "True", "true", False], ("false", "true"), {"True": "true"}),
        (["Ja", "ja", "JA", "ja", "nein"], ("ja", "nein"), {"Ja": "ja", "JA": "ja"}),
    ],
)
def test_spellings_of_a_label_are_one_label_and_reported(labels, names, spelled):
    part = prepared(labels)
    assert find_labels(table(labels), "label").names == names
    assert (part.spelled, len(part.rows)) == (spelled, len(labels))
    notice = part.sentences()[0]
    assert all(f"'{word}' as '{name}'" in notice for word, name in spelled.items()) and "--set" not in notice


def test_the_labels_of_a_model_are_known_in_another_spelling():
    model = find_labels(table(["POSITIVE", "NEGATIVE"] * 3), "label")
    part = map_rows(table(["positive", "Negative ", "POSITIVE"], "test"), COLUMNS, model)
    assert [row["label"] for row in part.rows] == [1, 0, 1]
    assert part.spelled == {"positive": "POSITIVE", "Negative": "NEGATIVE"}


def test_spellings_that_the_user_lists_are_kept_apart():
    labels = ["US", "us", "them"] * 4
    result = table(labels)
    kept = find_labels(result, "label", ordered=("US", "us", "them"))
    part = map_rows(result, COLUMNS, kept)
    assert (kept.names, part.spelled, [row["label"] for row in part.rows[:3]]) == (("US", "us", "them"), {}, [0, 1, 2])
    with pytest.raises(DataError, match="the label 'Us' is not one of"):  # it could be either
        map_rows(table(["US", "Us"]), COLUMNS, kept)
    assert merge_spellings(Counter(a=1, b=2)) == Counter(a=1, b=2)


def test_one_class_in_two_spellings_is_one_class():
    with pytest.raises(DataError, match="has only one class in column 'label'"):
        find_labels(table(["yes", "Yes", "YES "]), "label")
