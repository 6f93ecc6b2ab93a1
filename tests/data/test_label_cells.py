"""hftool/data/label_cells.py and its callers: spelling variants, several labels in a cell, marks for a missing label."""

from collections import Counter

import pytest

from hftool.data.label_cells import find_joined, listed_labels, merge_spellings, without_marks
from hftool.data.labels import find_labels
from hftool.data.readers.tables import Table
from hftool.data.rows import map_rows
from hftool.errors import DataError

COLUMNS = {"text": "text", "label": "label"}


def table(labels, split="train", **kwargs):
    rows = [{"text": f"a film {i}", "label": label} for i, label in enumerate(labels)]
    return Table(split, f"{split}.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)), **kwargs)


def prepared(labels, **kwargs):
    result = table(labels)
    return map_rows(result, COLUMNS, find_labels(result, "label", **kwargs))


# ---- several labels in a cell


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
def test_error_names_the_multi_label_rows_their_count_and_separator(two, how):
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
def test_class_names_may_contain_a_separator(labels):
    assert find_joined(labels) == {}
    assert set(find_labels(table(labels * 4), "label").names) == set(labels)


def test_listed_labels_may_combine_two_classes():
    labels = ("negative", "positive", "negative#positive")
    assert find_labels(table(labels * 3), "label", ordered=labels).names == labels
    assert (
        listed_labels('{"choices": ["one"]}') == listed_labels('["one"]') == listed_labels("[ok") == listed_labels("{}") == []
    )


# ---- placeholders for a missing label


@pytest.mark.parametrize("mark", ["-", "?", "N/A", "n/a", "NA", "#N/A", "-1"])
def test_rare_placeholder_among_class_names_is_a_missing_label(mark):
    """SNLI marks 785 pairs without a majority label in this way."""
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
        [*["0", "1"] * 20, "-1"],  # -1 may be a rating: nothing shows that it is a placeholder
        ["yes", "no", "?"] * 9,
        ["none", "some", "some", "none", "all", "all"],
    ],
)
def test_frequent_placeholder_is_a_class(labels):
    assert set(find_labels(table(labels), "label").names) == set(labels)


def test_listed_labels_decide_which_placeholders_are_missing_labels():
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
def test_spelling_variants_are_merged_and_reported(labels, names, spelled):
    part = prepared(labels)
    assert find_labels(table(labels), "label").names == names
    assert (part.spelled, len(part.rows)) == (spelled, len(labels))
    notice = part.sentences()[0]
    assert all(f"'{word}' as '{name}'" in notice for word, name in spelled.items()) and "--set" not in notice


def test_spelling_variants_map_to_the_labels_of_the_model():
    model = find_labels(table(["POSITIVE", "NEGATIVE"] * 3), "label")
    part = map_rows(table(["positive", "Negative ", "POSITIVE"], "test"), COLUMNS, model)
    assert [row["label"] for row in part.rows] == [1, 0, 1]
    assert part.spelled == {"positive": "POSITIVE", "Negative": "NEGATIVE"}


def test_listed_spelling_variants_stay_separate():
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
