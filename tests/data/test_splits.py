"""hftool/data/splits.py: the tables of a task become its splits, with notices."""

import pytest

from hftool.data.labels import Labels
from hftool.data.quality import check_quality
from hftool.data.readers.tables import Table
from hftool.data.splits import SplitOptions, build_splits, has_targets
from hftool.errors import HftoolError
from hftool.heads import head_class

PASSAGE = "The light at Cape Orsa was built in 1888 from granite that was shipped over from the mainland. "


def table_of(name, rows, **kwargs):
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(name, f"{name}.csv", columns, rows, list(range(2, len(rows) + 2)), **kwargs)


def table(name, labels, *, columns=("text", "label")):
    return table_of(name, [dict(zip(columns, (f"{name} {i}", label), strict=True)) for i, label in enumerate(labels)])


def tagged(name, tags):
    return table_of(name, [{"tokens": [f"{name}{i}", *["a"] * (len(t or "x") - 1)], "tags": t} for i, t in enumerate(tags)])


def questions(name, answers):
    rows = [{"question": f"{name} {i}?", "context": f"{i // 3} Lyon", "answers": found} for i, found in enumerate(answers)]
    return table_of(name, rows)


def translated(name, targets):
    return table_of(name, [{"translation": {"en": f"{name} {i}", "de": text}} for i, text in enumerate(targets)])


def running_text(name, lines):
    return table_of(name, [{"text": line} for line in lines], lines=True)


def build(*tables, head="classify", **kwargs):
    defaults = {"columns": {}, "known_columns": {}, "known_labels": (), "ordered_labels": (), "limit": None, "seed": 0}
    row_schemas = head_class(head).row_schemas
    options = SplitOptions(**{"row_schemas": row_schemas, **defaults, "validation_share": 0.1, "allow_leak": False, **kwargs})
    return build_splits({part.split: part for part in tables}, options)


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def texts(part):
    return [row["text"] for row in part.rows]


# ---- classes


def test_column_and_label_choices_are_reported():
    splits = build(table("train", [0, 1] * 20), table("validation", [0, 1]), table("test", [-1, -1]))
    assert splits.notices == (
        "columns: text='text', label='label'",
        "labels: 0=0, 1=1 (sorted as numbers; --set labels=A,B sets the order)",
        "test: test.csv has no labels and is left out",
    )
    assert (len(splits.get("train").rows), len(splits.get("validation").rows)) == (40, 2)
    assert error_line(splits.get, "test") == "65 there is no test split with labels. Name a file, or choose another --split"


def test_test_split_is_kept_only_with_a_label_column():
    assert len(build(table("train", [0, 1] * 20), table("test", [0, 1])).get("test").rows) == 2
    assert build(table("train", [0, 1] * 20), table("test", [0], columns=("text", "id"))).test is None


def test_unlabelled_validation_split_is_replaced_and_reported():
    splits = build(table("train", ["no", "yes"] * 20), table("validation", [None, "-1"]))
    assert splits.notices[2:] == (
        "validation: validation.csv has no labels and is left out",
        "validation: 4 rows held out from train (same share of each label, seed 0)",
    )
    assert len(splits.train.rows) == 36 and splits.validation.path == "train.csv"


def test_split_with_other_column_names_is_mapped_and_reported():
    train = table("train", [0, 1] * 20)
    splits = build(
        train, table("validation", [0, 1], columns=("text", "stars")), table("test", [1, 1], columns=("SMS", "label"))
    )
    assert "columns of validation: text='text', label='stars'" in splits.notices
    assert "columns of test: text='SMS', label='label'" in splits.notices
    assert [row["label"] for row in splits.validation.rows] == [0, 1] and len(splits.test.rows) == 2


def test_split_without_the_columns_is_an_error():
    train = table("train", [0, 1] * 20)
    assert error_line(build, train, table("validation", [0, 1, 1], columns=("text", "verdict"))) == (
        "65 validation.csv has no column 'label'; it has 'text', 'verdict'. Try --label verdict"
    )
    assert error_line(build, train, table("test", [0, 1], columns=("number", "label"))).startswith(
        "65 test.csv has no column 'text'; it has 'number', 'label'."
    )


def test_label_missing_in_train_is_reported_with_its_line():
    line = error_line(build, table("train", ["a", "b"] * 20), table("validation", ["a", "c"]))
    assert line == "65 validation.csv:3: the label 'c' is not one of 'a', 'b'. Labels of every split must be in train"


def test_labels_of_an_existing_model_are_used_unchanged():
    labels = Labels(("b", "a"), ("b", "a"), "as the model names them")
    splits = build(table("train", ["a", "b"] * 20), table("validation", ["a"]), labels=labels)
    assert splits.labels is labels and splits.validation.rows[0]["label"] == 1


def test_limit_samples_each_split():
    splits = build(table("train", [0] * 300 + [1] * 300), table("validation", [0, 1] * 50), limit=40)
    assert (len(splits.train.rows), len(splits.validation.rows)) == (40, 40)
    assert 10 < sum(row["label"] for row in splits.train.rows) < 30  # the file is sorted by label, the sample is not
    assert texts(splits.train) == sorted(texts(splits.train), key=lambda text: int(text.split()[1]))
    line = error_line(build, table("train", [0] * 300 + [1] * 300), table("validation", [0, 1]), limit=1)
    assert line == "65 the train rows of train.csv that are left have only one class. Raise --limit"


# ---- numbers


def test_continuous_labels_are_inferred_and_reported():
    splits = build(table("train", [i / 4 for i in range(21)]), table("test", [-1.0, -1]))
    assert splits.labels.range == (0.0, 5.0) and splits.train.rows[1]["label"] == 0.25
    assert splits.notices == (
        "columns: text='text', label='label'",
        "labels: numbers from 0 to 5 (the model will answer a number)",
        "validation: 2 rows held out from train (seed 0)",
        "test: test.csv has no labels and is left out",
    )


def test_task_or_user_chooses_between_regression_and_classes():
    assert build(table("train", ["1", "2"] * 20), numbers=True).labels.range == (1.0, 2.0)
    assert build(table("train", ["1", "2"] * 20)).labels.names == ("1", "2")
    assert build(table("train", ["1.5", "2"] * 20), numbers=False, ordered_labels=("1.5", "2")).labels.names == ("1.5", "2")
    assert build(table("train", ["1.5", "2"] * 20), ordered_labels=("2", "1.5")).labels.names == ("2", "1.5")


def test_ambiguous_decimal_commas_are_rejected():
    line = error_line(build, table("train", ["4.5", "4,75"] * 20 + ["5"]), numbers=True)
    assert line.startswith("65 train.csv: 20 of 41 rows cannot be used; the first is line 3: '4,75' is not a number.")


# ---- tags, answers, texts


def test_tags_are_named_split_and_checked():
    train = tagged("train", [["B-PER", "O"], ["O", "B-LOC"]] * 20)
    splits = build(train, tagged("test", [["O", "I-LOC"]]), head="tag")
    assert splits.notices == (
        "columns: tokens='tokens', tags='tags'",
        "labels: 0=O, 1=B-LOC, 2=I-LOC, 3=B-PER, 4=I-PER (as they occur; --set labels=A,B sets the order)",
        "validation: 4 rows held out from train (seed 0)",
    )
    assert splits.train.rows[0]["tags"] == [3, 0] and splits.test.rows[0]["tags"] == [0, 2]
    line = error_line(build, train, tagged("validation", [["O"], ["O", "B-ORG"]]), head="tag")
    assert line == (
        "65 validation.csv:3: the label 'B-ORG' is not one of 'O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER'. "
        "Labels of every split must be in train"
    )


def test_splitting_keeps_questions_about_one_context_together():
    splits = build(questions("train", [["Lyon"]] * 90), head="answer")
    assert splits.notices[1] == "validation: 9 rows held out from train (seed 0)" and splits.labels.names == ()
    assert not {row["context"] for row in splits.train.rows} & {row["context"] for row in splits.validation.rows}


def test_nested_fields_are_mapped():
    given = {"source": "translation.en", "target": "translation.de"}
    splits = build(translated("train", ["ja"] * 40), head="text2text", known_columns=given)
    assert splits.columns == given and splits.train.rows[0] == {"source": "train 0", "target": "ja"}
    assert splits.notices[0] == "columns: source='translation.en', target='translation.de'"
    wrong = {**given, "target": "translation.fr"}
    assert error_line(build, translated("train", ["ja"] * 40), head="text2text", columns=wrong).startswith(
        "65 train.csv: 40 of 40 rows cannot be used; the first is line 2: no text in column 'translation.fr'."
    )


@pytest.mark.parametrize(
    ("head", "make_table", "labelled", "unlabelled"),
    [
        ("classify", table, [0, 1], [[-1, -1], [None, ""], ["-1", -1.0]]),
        ("classify", table, [0.5, 1.5], [[-1.0, -1.0], [None, float("nan")]]),
        ("tag", tagged, [["B-PER", "O"], ["O", "O"]], [[[], []], [[-1, -1], [-1]], ["[]", ""], [None, None]]),
        (
            "answer",
            questions,
            [["Lyon"], []],
            [[[], []], [{"text": [], "answer_start": []}] * 2, [{"text": [""], "answer_start": [-1]}] * 2, [None, None]],
        ),
        ("text2text", translated, ["ja", "nein"], [[None, None], ["", " "], ["-1", "-1"]]),
    ],
)
def test_test_split_without_targets_is_left_out_and_reported(head, make_table, labelled, unlabelled):
    known = {"source": "translation.en", "target": "translation.de"} if head == "text2text" else {}
    train = make_table("train", labelled * 30)
    for targets in unlabelled:
        splits = build(train, make_table("test", targets), head=head, known_columns=known)
        assert splits.test is None, targets
        assert splits.notices[-1] == "test: test.csv has no labels and is left out"
    assert len(build(train, make_table("test", labelled), head=head, known_columns=known).test.rows) == 2


def test_one_row_with_a_target_makes_a_split_labelled():
    assert not has_targets(table("test", [-1, "-1", None, ""]), "label")
    assert has_targets(table("test", [-1, 0]), "label")
    assert not has_targets(table("test", [1]), "other") and not has_targets(table("test", [1]), None)
    assert has_targets(tagged("test", [[], [0]]), "tags") and has_targets(questions("test", [[], ["Lyon"]]), "answers")
    assert has_targets(questions("test", [{"text": [], "is_impossible": True}]), "answers")


# ---- running text


def test_running_text_becomes_passages_in_each_split_separately():
    lines = [f"{i}. {PASSAGE}" for i in range(100)]
    splits = build(running_text("train", lines), running_text("validation", ["Yes."] * 3), head="generate")
    assert splits.notices == ("columns: text='text'",)
    assert 4 <= len(splits.train.rows) <= 6 and splits.train.numbers[0] == 2
    assert all(len(text) <= 2000 for text in texts(splits.train))
    assert "\n".join(texts(splits.train)).split() == " ".join(lines).split()
    assert texts(splits.validation) == ["Yes.\nYes.\nYes."]
    split = build(running_text("train", lines), head="fill")
    assert split.notices[1] == "validation: 1 rows held out from train (seed 0)"
    assert not set(texts(split.train)) & set(texts(split.validation))


def test_text_rows_are_not_merged_and_short_ones_may_be_in_both_splits():
    train = table_of("train", [{"text": text} for text in ["Yes.", "No.", "Perhaps."] * 10])
    splits = build(train, table_of("validation", [{"text": "Yes."}, {"text": "No."}]), head="generate")
    assert len(splits.train.rows) == 30 and splits.quality.leaked == 0
    leaky = table_of("validation", [{"text": PASSAGE}])
    line = error_line(build, table_of("train", [{"text": PASSAGE}, {"text": "Yes."}]), leaky, head="generate")
    assert line.startswith("65 1 of 1 validation rows are in train as well (lines 2 of validation.csv).")


def test_lines_for_a_head_with_targets_stay_rows():
    rows = [{"text": f"film {i}", "label": i % 2} for i in range(20)]
    assert len(build(table_of("train", rows, lines=True)).train.rows) == 18


def test_prompt_and_completion_take_precedence_over_text():
    rows = [{"prompt": f"say {i}", "completion": "yes", "text": "other"} for i in range(20)]
    splits = build(table_of("train", rows), head="generate")
    assert splits.columns == {"prompt": "prompt", "completion": "completion"}
    assert check_quality(splits.train, splits.validation, allow_leak=False).leaked == 0


@pytest.mark.parametrize("stray", ["3,5", "unknown", "3;5"])
def test_stray_text_does_not_turn_numbers_into_classes(stray):
    """It is rejected like any row that cannot be used; too many such rows are an error."""
    numbers = [f"{i % 5}.5" for i in range(200)]
    splits = build(table("train", [*numbers, stray]))
    assert splits.labels.range == (0.5, 4.5)
    assert [(one.row, one.reason) for one in splits.train.rejected] == [(202, f"'{stray}' is not a number")]
    line = error_line(build, table("train", [*numbers[:40], stray]))
    assert line.startswith(f"65 train.csv: 1 of 41 rows cannot be used; the first is line 42: '{stray}' is not a number")
    assert line.endswith("--set labels=A,B,C if the labels are classes and not numbers")
    words = build(table("train", ["1.5", "2.0", "other"] * 20))
    assert words.labels.names == ("1.5", "2", "other") and not words.labels.range


@pytest.mark.parametrize("mark", ["-", "n/a", "NA", "?", "nan"])
def test_missing_label_placeholders_among_numbers_are_counted_and_left_out(mark):
    numbers = [mark if i % 6 == 0 else f"{i % 5}.5" for i in range(60)]
    splits = build(table("train", numbers), table("validation", numbers))
    assert splits.labels.range == (0.5, 4.5)
    for part in (splits.train, splits.validation):
        assert len(part.rows) == 50 and {one.reason for one in part.rejected} == {"no label"}
        assert f"10 rows of {part.split} have no label and are left out" in splits.notices


@pytest.mark.parametrize("classes", [(0, 1, 2), (1, 2, 3, 4, 5), (0, 1, 2, 3), (3, 4), (0, 7)])
def test_rare_minus_one_among_larger_numbers_is_a_missing_label(classes):
    values = [*classes * 60, *[-1] * 4]
    splits = build(table("train", values), table("validation", values))
    assert splits.labels.names == tuple(map(str, classes))
    assert "4 rows of train have no label and are left out" in splits.notices and len(splits.validation.rejected) == 4
    assert build(table("train", [*(-1, 0, 1) * 20, *[1, 0] * 100])).labels.names == ("-1", "0", "1")


DECIMALS = [  # column of the validation labels, their cells, the first as a number
    ("price", [f"{i},25" for i in range(20)], 0.25),
    ("score", [f"{i},25" for i in range(20)], 0.25),
    ("score", [f"{i}.25" for i in range(20)], 0.25),
    ("price", [f"-{i + 1},5" for i in range(20)], -1.5),
    ("rating", [str(i) for i in range(20)], 0),
    ("score", [f"{i + 1}.204,50" for i in range(20)], 1204.5),
]


@pytest.mark.parametrize(("column", "cells", "first"), DECIMALS)
def test_each_file_may_have_its_own_number_format(column, cells, first):
    """Decimal commas are parsed in every split, also if its columns have other names."""
    train = table_of("train", [{"text": f"train {i}", "price": f"{i},5" if i else "-3"} for i in range(40)])
    other = table_of("validation", [{"comment": f"other {i}", column: cell} for i, cell in enumerate(cells)])
    splits = build(train, other, columns={"label": "price"})
    assert splits.labels.range == (-3, 39.5) and splits.validation.rows[0]["label"] == first
    assert sum("decimal" in notice for notice in splits.notices) == 1 + ("," in cells[0])


def test_rows_outside_the_named_classes_are_rejected():
    """785 rows of SNLI have -1 as label; where -1 is a class, as in ratings of -1 and 1, it stays one."""
    named = {"label": ("entailment", "neutral", "contradiction")}
    rows = table("train", [*[0, 1, 2] * 40, -1]).rows
    splits = build(table_of("train", rows, label_names=named), table("validation", [*[0, 1, 2] * 40, -1]))
    assert splits.labels.names == named["label"]
    for part in (splits.train, splits.validation):
        assert len(part.rows) == 120 and [(one.row, one.reason) for one in part.rejected] == [(122, "no label")]
    assert build(table("train", [-1, 1] * 20)).labels.names == ("-1", "1")


def test_unlabelled_rows_of_the_data_set_do_not_count_as_unusable():
    """176 of the 10,000 test rows of SNLI; without named classes, -1 beside 0 and 1 counts as unusable."""
    named = {"label": ("entailment", "neutral", "contradiction")}
    tables = [table(split, [*[0, 1, 2] * 60, *[-1] * 4]).rows for split in ("train", "validation", "test")]
    result = zip(("train", "validation", "test"), tables, strict=True)
    splits = build(*(table_of(split, rows, label_names=named) for split, rows in result))
    for part in (splits.train, splits.validation, splits.test):
        assert (len(part.rows), len(part.rejected)) == (180, 4)
    empty = table_of("train", table("train", [*[0, 1, 2] * 60, *[None] * 4]).rows, label_names=named)
    assert "4 of 184 rows cannot be used; the first is line 182: no label" in error_line(build, empty)
    gaps = table("validation", [*[0, 1] * 90, *[-1] * 4])
    line = error_line(build, table("train", [0, 1] * 90), gaps)
    assert "4 of 184 rows cannot be used; the first is line 182: no label" in line


@pytest.mark.parametrize("odd", ["[PAD]", "[CLS]", "<pad>", "[SEP]", "<unk>"])
def test_named_tag_outside_of_all_entities_is_reported(odd):
    """Tag names come from the file, as in Parquet, or from the user."""
    tables = [tagged("train", [[1, 0], [2, 0], [3, 0]] * 4), tagged("validation", [[1, 0], [2, 0]])]
    names = ("O", "B-PER", "I-PER", odd)
    named = [table_of(part.split, part.rows, label_names={"tags": names}) for part in tables]
    for splits in (build(*named, head="tag"), build(*tables, head="tag", ordered_labels=names)):
        assert splits.labels.names == names and f"tags: '{odd}': outside of all entities, as O" in splits.notices


def test_hint_on_spellings_appears_only_where_its_flag_exists():
    splits = build(table("train", ["good", "bad", "Good", "bad", "good", "BAD"] * 6))
    assert any(notice.endswith("; --set labels=A,B keeps spellings apart") for notice in splits.notices)
    assert splits.train.spelled and not any("--set" in notice for notice in splits.train.sentences())  # as in evaluate
