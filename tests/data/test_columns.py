"""hftool/data/columns.py: which column is which, what the labels are called, and rows that cannot be used."""

import json

import pytest

from hftool.data.columns import (
    Labels,
    find_labels,
    has_labels,
    label_text,
    map_columns,
    own_names,
    prepare,
    prepare_row,
    sample_indices,
)
from hftool.data.sources import Table
from hftool.errors import HftoolError
from hftool.registry.tasks import get_task

WANTED = ("text", "text_pair", "label")
TASK = {"text": "sentence", "label": "label"}
SENTIMENT = (("0", "negative"), ("1", "positive"))


def mapped(columns, given=None, known=None):
    return map_columns(columns, WANTED, given=given or {}, known=known or {}, path="reviews.csv", optional=("text_pair",))


def table(labels, texts=None, **named):
    rows = [{"text": text, "label": label} for text, label in zip(texts or ["a film"] * len(labels), labels, strict=True)]
    return Table("train", "reviews.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)), **named)


def line_of(call, *words, **named):
    with pytest.raises(HftoolError) as caught:
        call(*words, **named)
    return f"{caught.value.code} {caught.value}"


# ---- columns


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("id", "Review", "STARS"), {"text": "Review", "label": "STARS"}),
        (("sentence", "text", "label"), {"text": "text", "label": "label"}),
        (("sentence1", "sentence2", "target"), {"text": "sentence1", "text_pair": "sentence2", "label": "target"}),
        (("Premise", "Hypothesis", "label"), {"text": "Premise", "text_pair": "Hypothesis", "label": "label"}),
        (("text", "text_pair", "class"), {"text": "text", "text_pair": "text_pair", "label": "class"}),
    ],
)
def test_columns_are_found_by_common_names(columns, expected):
    assert mapped(columns) == expected


def test_a_flag_wins_over_the_task_and_the_task_over_common_names():
    columns = ("text", "sentence", "label", "stars", "sentence1", "sentence2")
    assert mapped(columns, known=TASK) == {"text": "sentence", "label": "label"}
    assert mapped(columns, {"text": "sentence1", "label": "stars"}, TASK) == {"text": "sentence1", "label": "stars"}
    assert mapped(("review", "label"), known=TASK) == {"text": "review", "label": "label"}  # the task's column is not there


@pytest.mark.parametrize(
    ("columns", "given", "line"),
    [
        (("texte", "stars"), {}, "65 reviews.csv has no column 'text'; it has 'texte', 'stars'. Try --text texte"),
        (("text", "verdict"), {}, "65 reviews.csv has no column 'label'; it has 'text', 'verdict'. Try --label COLUMN"),
        (("text", "label"), {"text": "tekst"}, "65 reviews.csv has no column 'tekst'; it has 'text', 'label'. Try --text text"),
        (("text", "label"), {"txt": "text"}, "2 unknown role 'txt'. Did you mean 'text'?"),
        (("text", "label"), {"text": "label"}, "2 column 'label' is both text and label. Name another with --label"),
        (("text", "label"), {"text_pair": "text"}, "2 column 'text' is both text and text_pair. Name another with --text"),
    ],
)
def test_columns_that_do_not_fit(columns, given, line):
    known = {"label": "label"} if given.get("text") == "label" else {"text": "text"} if "text_pair" in given else {}
    assert line_of(mapped, columns, given, known) == line


def test_the_flag_of_a_role_without_a_short_form_is_said():
    line = line_of(map_columns, ("x",), ("tokens",), given={}, known={}, path="a.jsonl")
    assert line == "65 a.jsonl has no column 'tokens'; it has 'x'. Try --column tokens=NAME"


# ---- labels


def test_drifting_ways_to_write_a_number_are_one_label():
    assert {label_text(value) for value in ("1", 1, 1.0, " 1 ", "1.0", "1.00", "1\u00a0")} == {"1"}
    assert (label_text("-1.0"), label_text("1.5"), label_text("v1.0"), label_text(True)) == ("-1", "1.5", "v1.0", "true")
    assert {label_text(value) for value in (None, "", " \t", float("nan"))} == {None}
    assert {label_text(value) for value in ("NA", "null", "None", "nan")} == {"NA", "null", "None", "nan"}
    assert label_text("\ud83d") == "?"  # from JSON; it could never be written


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10", "9", "1", "10"], ("1", "9", "10")),
        ([1, 2, 3, 4, 5], ("1", "2", "3", "4", "5")),
        ([0.0, 1.0, "0", "1"], ("0", "1")),
        (["0.0", "1.0"], ("0", "1")),
        ([True, False], ("false", "true")),
        ([-1, 1, 0], ("-1", "0", "1")),
        (["pos", "neg", "NA"], ("NA", "neg", "pos")),
        (["good ", " good", "bad", "", "  ", None], ("bad", "good")),
        (["1.5", "1.5", "none"], ("1.5", "none")),
    ],
)
def test_the_order_of_labels_is_that_of_their_values(values, expected):
    labels = find_labels(table(values), "label")
    assert labels.values == labels.names == expected


def test_the_order_is_said():
    assert find_labels(table(["2", "1"]), "label").sentence() == (
        "labels: 0=1, 1=2 (sorted as numbers; --set labels=A,B sets the order)"
    )
    many = Labels(tuple("abcdefghijkl"), tuple("abcdefghijkl"), "so")
    assert many.sentence().endswith("8=i, 9=j and 2 more (so)")


def test_the_task_names_its_labels_by_value_or_by_name():
    for values in (["1", 0], ["positive", "negative"], [1.0, "negative"]):
        labels = find_labels(table(values), "label", known=SENTIMENT)
        assert labels == Labels(("0", "1"), ("negative", "positive"), "as the task names them")
        made = prepare(table(values), {"text": "text", "label": "label"}, labels)
        assert [row["label"] for row in made.rows] == [1, 0]


def test_a_data_set_that_names_its_classes_is_believed():
    labels = find_labels(table([1, 0], label_names={"label": ("bad", "good")}), "label", known=SENTIMENT)
    assert (labels.values, labels.names) == (("0", "1"), ("bad", "good"))


def test_the_users_order_wins_over_everybody():
    order = ("positive", "negative")
    for labels in (
        find_labels(table([1, 0]), "label", known=SENTIMENT, ordered=order),
        find_labels(table([1, 0], label_names={"label": ("negative", "positive")}), "label", ordered=order),
        find_labels(table([1, 0]), "label", known=SENTIMENT, ordered=("1", "0")),
    ):
        assert labels == Labels(("1", "0"), order, "in the order given")
    assert find_labels(table(["low", "high"]), "label", ordered=("low", "mid", "high")).names == ("low", "mid", "high")
    fractions = find_labels(table([1.5, 1.0]), "label", ordered=("1.0", "1.5"))
    assert fractions.index() == {"1": 0, "1.5": 1}


@pytest.mark.parametrize(
    ("values", "named", "line"),
    [
        (["1", 1.0, " 1"], {}, "65 reviews.csv has only one class in column 'label': '1'. A classifier needs two; choose the"),
        (["", None], {}, "65 reviews.csv has no label in column 'label'. Choose the column with --label"),
        (["0.25", "0.5"], {}, "65 column 'label' of reviews.csv holds numbers such as 0.25, not classes. Choose the column of"),
        ([f"id{i}" for i in range(30)], {}, "65 column 'label' of reviews.csv has 30 different values in 30 rows: that is no"),
        ([["a"], ["b"]], {}, "65 column 'label' of reviews.csv holds lists or bytes, not classes. Choose the column with"),
        ([b"a", b"b"], {}, "65 column 'label' of reviews.csv holds lists or bytes, not classes. Choose the column with"),
        (["a", "c"], {"ordered": ("a", "b")}, "65 reviews.csv has labels that are not in the list: 'c'; the list has 'a', 'b'"),
        (["a", "b"], {"ordered": ("a", "b", "a")}, "2 labels names 'a' more than once. Mend --set labels=A,B,C"),
    ],
)
def test_columns_that_are_no_classes(values, named, line):
    assert line_of(find_labels, table(values), "label", **named).startswith(line)


def test_an_unlabelled_split_is_known_by_its_missing_or_negative_labels():
    assert not has_labels(table([-1, "-1", None, ""]), "label")
    assert has_labels(table([-1, 0]), "label")
    assert not has_labels(table([1]), "other") and not has_labels(table([1]), None)


def test_own_names_are_the_tasks_or_the_data_sets():
    assert own_names(table([1]), "label", get_task("sst2")) == dict(SENTIMENT)
    assert own_names(table([1], label_names={"label": ("a", "b")}), "label", None) == {"0": "a", "1": "b"}
    assert own_names(table([1]), "label", None) == {}


# ---- rows


def test_a_label_that_train_lacks_is_named_with_its_line():
    labels = Labels(("0", "1"), ("negative", "positive"), "")
    mapping = {"text": "text", "label": "label"}
    assert line_of(prepare, table([0, 1, 2]), mapping, labels) == (
        "65 reviews.csv:4: the label '2' is not one of 'negative', 'positive', '0', '1'. Labels of every split must be in train"
    )
    assert "(2 such labels: '2', 'x')" in line_of(prepare, table([0, 2, "x", 2]), mapping, labels)


def test_where_a_value_is_the_name_of_another_class_the_value_wins():
    labels = Labels(("1", "2"), ("2", "1"), "")
    made = prepare(table(["1", "2"]), {"text": "text", "label": "label"}, labels)
    assert [row["label"] for row in made.rows] == [0, 1]


def test_rows_without_a_text_or_a_label_are_set_aside_with_their_line():
    texts = ["a film"] * 300
    texts[7] = " \u3000\ufeff\u200b\0"
    labels = [i % 2 for i in range(300)]
    labels[9] = " "
    made = prepare(table(labels, texts), {"text": "text", "label": "label"}, Labels(("0", "1"), ("0", "1"), ""))
    assert [(bad.row, bad.reason) for bad in made.rejected] == [(9, "no text in column 'text'"), (11, "no label")]
    assert len(made.rows) == 298 and made.numbers[6:9] == [8, 10, 12]


def test_above_one_percent_of_unusable_rows_is_an_error():
    texts = ["a film"] * 100
    texts[0] = ""
    assert len(prepare(table([1] * 100, texts), {"text": "text"}, None).rows) == 99
    texts[50] = ""
    assert line_of(prepare, table([1] * 100, texts), {"text": "text"}, None) == (
        "65 reviews.csv: 2 of 100 rows cannot be used; the first is line 2: no text in column 'text'. "
        "At most 1 % may be unusable: mend the file or choose other columns"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\ufeffa\ufeffb", "a\ufeffb"),
        ("x" * 100_000, "x" * 100_000),
        ("😀 שלום", "😀 שלום"),
        (json.loads('"half \\ud83d of it"'), "half ? of it"),
        (5, "5"),
        (2.0, "2"),
        (True, "true"),
        ("NA", "NA"),
        (" null\n", " null\n"),
    ],
)
def test_texts_come_through(value, text):
    assert prepare_row({"t": value}, {"text": "t"}) == ({"text": text}, "")


@pytest.mark.parametrize("value", [None, "", "\u200b", float("nan"), ["a"], {"a": 1}, b"a"])
def test_what_is_no_text(value):
    row = {"a": "there", "b": value}
    assert prepare_row(row, {"text": "a", "text_pair": "b"}) == ({}, "no text in column 'b'")


def test_a_limit_is_a_seeded_sample_in_file_order():
    taken = sample_indices(1000, 100, 5)
    assert taken == sorted(set(taken)) and len(taken) == 100 and taken == sample_indices(1000, 100, 5)
    assert taken != sample_indices(1000, 100, 6) and taken[-1] > 900
    assert sample_indices(3, None, 0) == sample_indices(3, 9, 0) == [0, 1, 2]


def test_the_hint_names_the_column_that_it_most_likely_is():
    """As the design has it: reviews.csv has no column 'text'; it has 'sentence', 'stars'. Try --text sentence"""
    from hftool.data.columns import missing_column

    error = missing_column("reviews.csv", ("sentence", "stars"), "txt", "text")
    assert str(error) == "reviews.csv has no column 'txt'; it has 'sentence', 'stars'. Try --text sentence"
    assert missing_column("reviews.csv", ("sentence", "stars"), "star", "label").hint == "Try --label stars"
    assert missing_column("reviews.csv", ("a", "b"), "txt", "text").hint == "Try --text COLUMN"
