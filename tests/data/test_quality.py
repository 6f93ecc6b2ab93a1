"""hftool/data/quality.py and splits.py: copies, conflicts and leaks are counted; validation is cut without a leak."""

from collections import Counter

import pytest

from hftool.data.columns import Prepared
from hftool.data.quality import Quality, check_quality, cut_validation
from hftool.data.sources import Table
from hftool.data.splits import Choices, build_splits
from hftool.errors import HftoolError


def split(rows, name="train"):
    made = [{"text": text, "label": label} for text, label in rows]
    return Prepared(name, f"{name}.csv", made, list(range(2, len(made) + 2)), [])


def line_of(call, *words, **named):
    with pytest.raises(HftoolError) as caught:
        call(*words, **named)
    return f"{caught.value.code} {caught.value}"


def texts(part):
    return [row["text"] for row in part.rows]


# ---- copies, conflicts, leaks


def test_copies_conflicts_and_leaks_are_counted_with_case_and_space_folded():
    train = split([("A  Film", 1), ("a film ", 1), ("a film", 0), ("b", 0), ("B\t", 0), ("b", 0), ("c", 1)])
    validation = split([("A FILM", 1), ("d", 1)], "validation")
    quality = check_quality(train, validation, allow_leak=True)
    assert quality == Quality(duplicates=3, conflicts=1, leaked=1, validation_rows=2)
    assert quality.sentences() == [
        "3 rows of train repeat an earlier one",
        "1 texts of train have more than one label",
        "1 of 2 validation rows are in train (50.0 %): the metrics flatter",
    ]


def test_a_pair_is_a_copy_only_if_both_texts_are():
    train, validation = split([("a", 1)]), split([("a", 1)], "validation")
    train.rows[0]["text_pair"], validation.rows[0]["text_pair"] = "x", "y"
    assert check_quality(train, validation, allow_leak=False).leaked == 0


def test_above_five_percent_leaked_is_an_error_unless_it_is_allowed():
    train = split([(f"film {i}", i % 2) for i in range(50)])
    rows = [(f"other {i}", 0) for i in range(38)]
    assert check_quality(train, split([*rows, ("film 1", 1), ("Film 2", 0)], "validation"), allow_leak=False).leaked == 2
    leaky = split([*rows, ("film 1", 1), ("Film 2", 0), ("film  3", 1)], "validation")
    assert line_of(check_quality, train, leaky, allow_leak=False) == (
        "65 3 of 41 validation rows are in train as well (lines 40, 41, 42 of validation.csv). "
        "Mend the split, or train all the same with --allow-leak"
    )
    assert check_quality(train, leaky, allow_leak=True).leaked == 3


# ---- the cut


def test_the_cut_is_seeded_stratified_and_keeps_the_file_order():
    train = split([(f"film {i}", int(i % 10 == 0)) for i in range(1000)])
    rest, validation = cut_validation(train, 0.2, 3)
    assert Counter(row["label"] for row in validation.rows) == {0: 180, 1: 20}
    assert sorted(rest.numbers + validation.numbers) == train.numbers
    assert rest.numbers == sorted(rest.numbers) and validation.numbers == sorted(validation.numbers)
    again = cut_validation(train, 0.2, 3)
    assert (again[0].numbers, again[1].numbers) == (rest.numbers, validation.numbers)
    assert cut_validation(train, 0.2, 4)[1].numbers != validation.numbers


def test_copies_of_a_text_stay_on_one_side_of_the_cut():
    train = split([(f"{'FILM' if i % 3 else 'film'} {i % 100}", i % 2) for i in range(400)])
    rest, validation = cut_validation(train, 0.1, 0)
    assert len(validation.rows) == 40
    assert check_quality(rest, validation, allow_leak=False).leaked == 0


def test_each_label_with_two_texts_is_measured_and_stays_in_train():
    train = split([("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"), ("d", "z"), ("e", "z"), ("e", "z"), ("e", "z")])
    rest, validation = cut_validation(train, 0.1, 0)
    assert sorted(row["label"] for row in validation.rows) == ["x", "z", "z"]
    assert {row["label"] for row in rest.rows} == {"x", "y", "z"}


def test_one_text_a_label_cannot_be_cut():
    line = line_of(cut_validation, split([("a", 0), ("A", 0), ("b", 1)]), 0.1, 0)
    assert line == "65 train.csv has too few rows to cut a validation split off. Name one with --validation"


# ---- from tables to splits


def table(name, labels, *, columns=("text", "label")):
    rows = [dict(zip(columns, (f"{name} {i}", label), strict=True)) for i, label in enumerate(labels)]
    return Table(name, f"{name}.csv", columns, rows, list(range(2, len(rows) + 2)))


def build(*tables, **named):
    defaults = {"columns": {}, "known_columns": {}, "known_labels": (), "ordered_labels": (), "limit": None, "seed": 0}
    choices = Choices(**{**defaults, "validation_share": 0.1, "allow_leak": False, **named})
    return build_splits({part.split: part for part in tables}, choices)


def test_choices_are_said_and_splits_are_had_by_name():
    splits = build(table("train", [0, 1] * 20), table("validation", [0, 1]), table("test", [-1, -1]))
    assert splits.said == (
        "columns: text='text', label='label'",
        "labels: 0=0, 1=1 (sorted as numbers; --set labels=A,B sets the order)",
        "test: test.csv has no labels and is left out",
    )
    assert (len(splits.get("train").rows), len(splits.get("validation").rows)) == (40, 2)
    assert line_of(splits.get, "test") == "65 there is no test split with labels. Name a file, or choose another --split"


def test_a_test_split_with_labels_is_kept_and_one_without_the_column_left_out():
    assert len(build(table("train", [0, 1] * 20), table("test", [0, 1])).get("test").rows) == 2
    assert build(table("train", [0, 1] * 20), table("test", [0], columns=("text", "id"))).test is None


def test_a_validation_split_without_labels_is_replaced_and_that_is_said():
    splits = build(table("train", ["no", "yes"] * 20), table("validation", [None, "-1"]))
    assert splits.said[2:] == (
        "validation: validation.csv has no labels and is left out",
        "validation: 4 rows cut from train (same share of each label, seed 0)",
    )
    assert len(splits.train.rows) == 36 and splits.validation.path == "train.csv"


def test_a_split_with_other_columns_is_an_error_and_not_left_out():
    train = table("train", [0, 1] * 20)
    assert line_of(build, train, table("validation", [0, 1], columns=("text", "stars"))) == (
        "65 validation.csv has no column 'label'; it has 'text', 'stars'. Try --label stars"
    )
    assert line_of(build, train, table("test", [0, 1], columns=("sentence", "label"))).startswith(
        "65 test.csv has no column 'text'; it has 'sentence', 'label'."
    )


def test_a_label_that_only_validation_has_is_named_with_its_line():
    line = line_of(build, table("train", ["a", "b"] * 20), table("validation", ["a", "c"]))
    assert line == "65 validation.csv:3: the label 'c' is not one of 'a', 'b'. Labels of every split must be in train"


def test_a_limit_samples_each_split_and_may_leave_one_class():
    splits = build(table("train", [0] * 300 + [1] * 300), table("validation", [0, 1] * 50), limit=40)
    assert (len(splits.train.rows), len(splits.validation.rows)) == (40, 40)
    assert 10 < sum(row["label"] for row in splits.train.rows) < 30  # the file is sorted by label, the sample is not
    assert texts(splits.train) == sorted(texts(splits.train), key=lambda text: int(text.split()[1]))
    line = line_of(build, table("train", [0] * 300 + [1] * 300), table("validation", [0, 1]), limit=1)
    assert line == "65 the train rows of train.csv that are left have only one class. Raise --limit"
