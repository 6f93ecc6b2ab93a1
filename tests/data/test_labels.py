"""hftool/data/labels.py: names and order of classes, tags and numbers."""

import pytest

from hftool.data.labels import Labels, are_numbers, find_labels, find_range, find_tags, label_text, own_names, tag_texts
from hftool.data.readers.tables import Table
from hftool.data.rows import map_rows
from hftool.errors import HftoolError
from hftool.registry.tasks import get_task

SENTIMENT = (("0", "negative"), ("1", "positive"))
AS_THEY_OCCUR = "as they occur; --set labels=A,B sets the order"


def table(labels, **kwargs):
    rows = [{"text": "a film", "label": label} for label in labels]
    return Table("train", "reviews.csv", ("text", "label"), rows, list(range(2, len(rows) + 2)), **kwargs)


def tags_of(tags, **kwargs):
    return find_tags(table(tags), "label", **kwargs)


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


# ---- classes


def test_number_formats_of_one_value_are_one_label():
    assert {label_text(value) for value in ("1", 1, 1.0, " 1 ", "1.0", "1.00", "1\u00a0")} == {"1"}
    assert (label_text("-1.0"), label_text("1.5"), label_text("v1.0"), label_text(True)) == ("-1", "1.5", "v1.0", "true")
    assert {label_text(value) for value in (None, "", " \t", float("nan"), "\ufeff")} == {None}
    assert {label_text(value) for value in ("NA", "null", "None", "nan")} == {"NA", "null", "None", "nan"}
    assert label_text("\ud83d") == "?"  # from JSON; no decimal literal gives exactly this value
    assert (label_text("שלום"), label_text("😀"), label_text("x" * 100_000)) == ("שלום", "😀", "x" * 100_000)


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
        (["2", "1", "nan"], ("1", "2", "nan")),
    ],
)
def test_labels_are_ordered_by_value(values, expected):
    labels = find_labels(table(values), "label")
    assert labels.values == labels.names == expected


def test_label_order_is_reported():
    assert find_labels(table(["2", "1"]), "label").sentence() == (
        "labels: 0=1, 1=2 (sorted as numbers; --set labels=A,B sets the order)"
    )
    many = Labels(tuple("abcdefghijkl"), tuple("abcdefghijkl"), "so")
    assert many.sentence().endswith("8=i, 9=j and 2 more (so)")


def test_task_names_its_labels_by_value_or_by_name():
    for values in (["1", 0], ["positive", "negative"], [1.0, "negative"]):
        labels = find_labels(table(values), "label", known=SENTIMENT)
        assert labels == Labels(("0", "1"), ("negative", "positive"), "as the task names them")
        result = map_rows(table(values), {"text": "text", "label": "label"}, labels)
        assert [row["label"] for row in result.rows] == [1, 0]


def test_class_names_of_the_data_set_are_used():
    labels = find_labels(table([1, 0], label_names={"label": ("bad", "good")}), "label", known=SENTIMENT)
    assert (labels.values, labels.names) == (("0", "1"), ("bad", "good"))


def test_given_label_order_takes_precedence():
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
        ([f"id{i}" for i in range(30)], {}, "65 column 'label' of reviews.csv has 30 different values in 30 rows: too many"),
        ([f"{i},5" for i in range(30)], {}, "65 column 'label' of reviews.csv has 30 different values in 30 rows: too many"),
        ([["a"], ["b"]], {}, "65 column 'label' of reviews.csv holds lists or bytes, not classes. Choose the column with"),
        ([b"a", b"b"], {}, "65 column 'label' of reviews.csv holds lists or bytes, not classes. Choose the column with"),
        (["a", "c"], {"ordered": ("a", "b")}, "65 reviews.csv has labels that are not in the list: 'c'; the list has 'a', 'b'"),
        (["a", "b"], {"ordered": ("a", "b", "a")}, "2 labels names 'a' more than once. Correct --set labels=A,B,C"),
    ],
)
def test_columns_unusable_as_classes_are_errors(values, named, line):
    assert error_line(find_labels, table(values), "label", **named).startswith(line)


@pytest.mark.parametrize(
    "values",
    [
        ['["a"]', '["b"]'],
        ["[]", "[1]", ""],
        [" ['a'] ", "['b']", "c"],
    ],
)
def test_lists_stored_as_text_are_parsed(values):
    line = error_line(find_labels, table(values), "label")
    assert line.startswith("65 column 'label' of reviews.csv holds lists or bytes, not classes. Choose the column with --label")
    assert f"; {values[0]} would be several labels for one row" in line
    assert line.replace(values[0], "") == error_line(find_labels, table([[1], [2]]), "label").replace("[1]", "")


@pytest.mark.parametrize("form", ["${}.50", "{}.5 \u20ac", "\u00a3{},204", "{} %", "$ 1,{}00"])
def test_currency_and_percent_signs_are_rejected_with_a_hint(form):
    line = error_line(find_labels, table([form.format(i) for i in range(100, 160)]), "label")
    assert (
        "has 60 different values in 60 rows: too many for classes. If they are continuous labels (regression), use plain numbers"
        in line
    )


LISTS = [  # as JSON, Python and numpy print them, in few cells or in all
    (["[1, 0]", "[0, 1]"], 0, 2),
    (['["a"]', '["b", "c"]'], 1, 1),
    (["['positive', 'film']", "['negative']"], 0, 1),
    (["[1 0]", "[0 1]"], 0, 2),
    (["a", "b", "a", "b", "a", "['a', 'b']"], 5, 1),
    (["a", "b", "a", "b", "('a', 'b')", "{'choices': ['a', 'b']}"], 5, 1),
    (["a", "b", "a", "b", " ['a' 'b'] "], 4, 1),
]


@pytest.mark.parametrize(("values", "first", "several"), LISTS)
def test_multi_label_lists_stored_as_text_are_counted(values, first, several):
    line = error_line(find_labels, table(values), "label")
    assert f"{several} of {len(values)} rows of reviews.csv have several classes in column 'label', in a list" in line
    assert f"the first is line {first + 2}: {values[first]}" in line


@pytest.mark.parametrize("values", [["[good]", "[bad]"], ["[UNK]", "a"], ["[1]", "a", "b"], ["[a, b]", "c"]])
def test_class_names_may_be_in_brackets(values):
    assert find_labels(table(values), "label").names == tuple(sorted(values))


@pytest.mark.parametrize(
    "names",
    [
        ["user_1001", "user_1002", "user_1003"],
        ["100482", "100483", "100484"],
        ["Q4201", "Q4202", "Q4203"],
        ["7f3a9c10-1b2c-4d5e-8f90-abcdef123456", "7f3a9c11-1b2c-4d5e-8f90-abcdef123456", "7f3a9c1200112233"],
        ["NN-0001", "NN-0002", "NN-0003"],
    ],
)
def test_class_names_that_look_like_identifiers_are_reported(names):
    assert "they look like identifiers: is that the column of classes?" in find_labels(table(names), "label").sentence()


@pytest.mark.parametrize(
    "names", [["1", "2", "3"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["B2B", "B2C", "C2C"], ["u1001", "u1002"]]
)
def test_common_class_names_are_not_identifiers(names):
    assert "identifiers" not in find_labels(table(names), "label").sentence()


def test_labels_in_a_nested_field():
    rows = Table("train", "a.jsonl", ("text", "mark"), [{"mark": {"sure": "b"}}, {"mark": {"sure": "a"}}], [1, 2])
    assert find_labels(rows, "mark.sure").names == ("a", "b")


def test_class_names_are_those_of_the_task_or_of_the_data_set():
    assert own_names(table([1]), "label", get_task("sst2")) == dict(SENTIMENT)
    assert own_names(table([1], label_names={"label": ("a", "b")}), "label", None) == {"0": "a", "1": "b"}
    assert own_names(table([1]), "label", None) == {}


# ---- numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["4.75", "5"], True),
        ([0.0, 2.5, None, ""], True),
        (["-0.5", "1e-3"], True),
        (["1", "2"], False),
        ([1.0, "2.0"], False),  # whole, as pandas writes classes
        (["1", "2", "nan"], False),
        (["1", "2", "inf"], False),
        (["1.5", "n/a"], False),
        (["4,75", "5"], False),  # a decimal comma is not interpreted here
        (["1_000.5", "2.5"], False),
        ([True, 0.5], False),
        (["v1.0", "2.5"], False),
        ([[0.5], [1.5]], False),
        ([None, ""], False),
    ],
)
def test_labels_are_continuous_if_all_are_numbers_and_one_is_fractional(values, expected):
    assert are_numbers(table(values), "label") is expected


def test_range_covers_the_parsable_numbers():
    found = find_range(table(["4.75", 0, "5.0", "4,75", "inf", None, "good"]), "label")
    assert found.range == (0.0, 5.0)
    assert found.sentence() == "labels: numbers from 0 to 5 (the model will answer a number)"
    assert find_range(table(["-2.5", "1e3"]), "label").sentence().startswith("labels: numbers from -2.5 to 1000 ")


@pytest.mark.parametrize("values", [["4.75", 4.75], ["4,75", "5,0"], [None]])
def test_range_needs_two_distinct_numbers(values):
    assert error_line(find_range, table(values), "label") == (
        "65 reviews.csv has no two different numbers in column 'label'. Choose the column with --label"
    )


# ---- tags


def test_tags_are_ordered_by_type_with_an_inside_tag_for_each_begin_tag():
    found = tags_of([["B-PER", "O", "B-LOC"], ["I-LOC", "B-ORG", "O"], None])
    names = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert found == Labels(names, names, AS_THEY_OCCUR)
    assert found.sentence().startswith("labels: 0=O, 1=B-LOC, 2=I-LOC, 3=B-ORG, 4=I-ORG, ")


def test_tags_without_prefixes_are_sorted_alphabetically():
    assert tags_of([["VERB", "NOUN"], ["ADJ", "X"]]).names == ("ADJ", "NOUN", "VERB", "X")
    assert tags_of(["O B-X", "['O', 'O']"]).names == ("O", "B-X", "I-X")  # lists stored as texts


def test_numeric_tags_are_sorted_as_numbers():
    assert tags_of([[1, 2, 10], [3.0, 9]]).names == ("1", "2", "3", "9", "10")  # counted from 1
    assert tags_of([["0.0", "1.0"], ["0", "1"]]).names == ("0", "1")
    assert tag_texts(["1.0", 2.0, " 3 ", "B-X"]) == (["1", "2", "3", "B-X"], "")
    assert tag_texts(["O", None]) == (None, "tag 2 is empty")


def test_tag_names_of_the_data_set():
    named = {"label": ("O", "B-PER", "I-PER")}
    found = find_tags(table([[0, 1], [0, 0]], label_names=named), "label", known=(("0", "X"), ("1", "Y")))
    assert found == Labels(("0", "1", "2"), named["label"], "as the data set names them")
    result = map_rows(tokens([[0, 1.0], ["2", "B-PER"]]), {"tokens": "tokens", "tags": "tags"}, found)
    assert [row["tags"] for row in result.rows] == [[0, 1], [2, 1]]


def test_tag_names_of_the_task():
    known = (("0", "O"), ("1", "B-PER"), ("2", "I-PER"))
    for tags in ([[0, 1]], [["O", "B-PER"]]):
        assert tags_of(tags, known=known) == Labels(("0", "1", "2"), ("O", "B-PER", "I-PER"), "as the task names them")
    assert tags_of([["O", "B-LOC"]], known=known).names == ("O", "B-LOC", "I-LOC")  # the user's file has others


def test_given_tag_order_takes_precedence():
    names = ("O", "B-PER", "I-PER")
    order = ("B-PER", "I-PER", "O")
    known = tuple((str(i), name) for i, name in enumerate(names))
    for found in (
        find_tags(table([[0, 1]], label_names={"label": names}), "label", ordered=order),
        tags_of([[0, 1]], known=known, ordered=order),
    ):
        assert found == Labels(("1", "2", "0"), order, "in the order given")
    assert tags_of([["O", "B-PER"]], ordered=order) == Labels(order, order, "in the order given")
    assert error_line(tags_of, [["O", "B-LOC"]], ordered=order) == (
        "65 reviews.csv has labels that are not in the list: 'B-LOC'; the list has 'B-PER', 'I-PER', 'O'. Correct --set labels=A,B,C"
    )
    assert (
        error_line(tags_of, [["O"]], ordered=("O", "X", "O")) == "2 labels names 'O' more than once. Correct --set labels=A,B,C"
    )


def test_too_few_or_too_many_tags_are_errors():
    assert error_line(tags_of, [["O", "O"]]) == "65 reviews.csv has only one tag in column 'label': 'O'. A tagger needs two"
    assert error_line(tags_of, [None, "[]"]) == (
        "65 reviews.csv has no tags in column 'label'. Choose the column with --column tags=NAME"
    )
    assert error_line(tags_of, [[f"t{i}" for i in range(1001)]]) == (
        "65 column 'label' of reviews.csv has 1001 different tags. Choose another --column tags=NAME"
    )


def tokens(tags):
    rows = [{"tokens": ["a"] * len(cell), "tags": cell} for cell in tags]
    return Table("train", "a.jsonl", ("tokens", "tags"), rows, list(range(1, len(rows) + 1)))
