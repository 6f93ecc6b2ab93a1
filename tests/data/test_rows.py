"""hftool/data/rows.py: rows are mapped to roles; a rejected row keeps its line and its reason."""

import json

import pytest

from hftool.data.labels import Labels
from hftool.data.readers.tables import Rejected, Table
from hftool.data.rows import map_row, map_rows, sample_indices
from hftool.errors import HftoolError

TWO = Labels(("0", "1"), ("negative", "positive"), "")
TAGS = Labels(("O", "B-PER", "I-PER"), ("O", "B-PER", "I-PER"), "")
TEXT = {"text": "text", "label": "label"}
TAGGED = {"tokens": "tokens", "tags": "tags"}
FOR_INFERENCE = {"question": "question", "context": "context", "answers": "answers"}


def table(rows, **kwargs):
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table("train", "reviews.csv", columns, rows, list(range(2, len(rows) + 2)), **kwargs)


def films(labels, texts=None):
    return table([{"text": t, "label": x} for t, x in zip(texts or ["a film"] * len(labels), labels, strict=True)])


def sentences(*pairs, good=200):
    """The pairs after `good` rows that can be used, so that one bad row is not above 1 %."""
    rows = [{"tokens": ["Ann", "sleeps"], "tags": ["B-PER", "O"]}] * good
    return table([*rows, *({"tokens": tokens, "tags": tags} for tokens, tags in pairs)])


def questions(*pairs, good=200, context="Not Paris but Lyon."):
    rows = [{"question": "where?", "context": context, "answers": ["Lyon"]}] * good
    return table([*rows, *({"question": "where?", "context": text, "answers": found} for text, found in pairs)])


def reasons(result):
    return [(bad.row, bad.reason) for bad in result.rejected]


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


# ---- texts


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
def test_text_values_are_accepted(value, text):
    assert map_row({"t": value}, {"text": "t"}) == ({"text": text}, "")
    for role in ("source", "target", "prompt", "completion", "question"):
        assert map_row({"t": value}, {role: "t"}) == ({role: text}, "")


@pytest.mark.parametrize("value", [None, "", "\u200b", "\ufeff", float("nan"), ["a"], {"a": 1}, b"a"])
def test_values_that_are_not_text_are_rejected(value):
    row = {"a": "there", "b": value}
    assert map_row(row, {"text": "a", "text_pair": "b"}) == ({}, "no text in column 'b'")
    assert map_row(row, {"question": "a", "context": "b"}) == ({}, "no text in column 'b'")


def test_nested_fields_of_a_column():
    row = {"translation": {"en": "yes", "de": "ja"}}
    given = {"source": "translation.en", "target": "translation.de"}
    assert map_row(row, given) == ({"source": "yes", "target": "ja"}, "")
    assert map_row(row, {"source": "translation.fr"}) == ({}, "no text in column 'translation.fr'")


def test_rows_without_a_text_or_a_label_are_rejected_with_their_line():
    texts = ["a film"] * 300
    texts[7] = " \u3000\ufeff\u200b\0"
    labels = [i % 2 for i in range(300)]
    labels[9] = " "
    result = map_rows(films(labels, texts), TEXT, TWO)
    assert reasons(result) == [(9, "no text in column 'text'"), (11, "no label")]
    assert len(result.rows) == 298 and result.numbers[6:9] == [8, 10, 12]
    assert result.rejected[1].raw == "{'text': 'a film', 'label': ' '}"


def test_above_one_percent_of_unusable_rows_is_an_error():
    texts = ["a film"] * 100
    texts[0] = ""
    assert len(map_rows(films([1] * 100, texts), {"text": "text"}, None).rows) == 99
    texts[50] = ""
    assert error_line(map_rows, films([1] * 100, texts), {"text": "text"}, None) == (
        "65 reviews.csv: 2 of 100 rows cannot be used; the first is line 2: no text in column 'text'. "
        "At most 1 % may be unusable: correct the file or choose other columns"
    )


def test_unreadable_rows_count_as_rejected():
    bad = Rejected(1, "3 fields where the header has 2", "")
    result = map_rows(table([{"text": "a film"}] * 99, rejected=[bad]), {"text": "text"}, None)
    assert result.rejected == [bad]
    line = error_line(map_rows, table([{"text": "a film"}] * 98, rejected=[bad]), {"text": "text"}, None)
    assert line.startswith("65 reviews.csv: 1 of 99 rows cannot be used; the first is line 1: 3 fields")


# ---- labels


def test_label_missing_in_train_is_reported_with_its_line():
    assert error_line(map_rows, films([0, 1, 2]), TEXT, TWO) == (
        "65 reviews.csv:4: the label '2' is not one of 'negative', 'positive', '0', '1'. Labels of every split must be in train"
    )
    assert "(2 such labels: '2', 'x')" in error_line(map_rows, films([0, 2, "x", 2]), TEXT, TWO)


def test_stored_value_takes_precedence_over_the_name_of_another_class():
    result = map_rows(films(["1", "2"]), TEXT, Labels(("1", "2"), ("2", "1"), ""))
    assert [row["label"] for row in result.rows] == [0, 1]


def test_numbers_are_kept_and_other_labels_are_shown_in_the_error():
    score = Labels(("score",), ("score",), "", (0.0, 5.0))
    result = map_rows(films([4.75, "0", " 2.5 ", *[1.0] * 200, "4,75", None]), TEXT, score)
    assert [row["label"] for row in result.rows][:4] == [4.75, 0.0, 2.5, 1.0]
    assert reasons(result) == [(205, "'4,75' is not a number"), (206, "no number")]


# ---- tokens and tags


def test_tags_are_mapped_to_ids():
    result = map_rows(sentences((["Ann", "Lee"], ["B-PER", " I-PER\n"]), ("['I', 'am']", "O O"), good=0), TAGGED, TAGS)
    assert result.rows == [{"tokens": ["Ann", "Lee"], "tags": [1, 2]}, {"tokens": ["I", "am"], "tags": [0, 0]}]
    from_one = Labels(("1", "2", "3"), ("1", "2", "3"), "")
    result = map_rows(sentences((["a", "b", "c"], [1, 2.0, "3"]), good=0), TAGGED, from_one)
    assert result.rows[0]["tags"] == [0, 1, 2]


def test_rows_with_misaligned_tags_are_rejected_with_their_line():
    result = map_rows(sentences((["a"] * 5, ["O"] * 4), ([], []), good=300), TAGGED, TAGS)
    assert reasons(result) == [(302, "5 tokens and 4 tags"), (303, "no tokens in column 'tokens'")]
    result = map_rows(sentences((["a"], []), (["a", "b"], ["O", None]), good=300), TAGGED, TAGS)
    assert reasons(result) == [(302, "no tags"), (303, "tag 2 is empty")]


def test_tag_missing_in_train_is_reported_with_its_line():
    assert error_line(map_rows, sentences((["a", "b"], ["O", "B-LOC"]), (["a"], ["X"])), TAGGED, TAGS) == (
        "65 reviews.csv:202: the label 'B-LOC' is not one of 'O', 'B-PER', 'I-PER' (2 such labels: 'B-LOC', 'X'). "
        "Labels of every split must be in train"
    )


def test_unusual_tokens_keep_their_indices():
    words = ["\ufeff", "😀", "שלום", "half \ud83d", "", "x" * 100_000]
    result = map_rows(sentences((words, ["B-PER", *["O"] * 5]), good=0), TAGGED, TAGS)
    assert result.rows == [{"tokens": [*words[:3], "half ?", *words[4:]], "tags": [1, 0, 0, 0, 0, 0]}]


# ---- answers


def test_answers_have_offsets():
    given = {"text": ["Lyon", "Paris"], "answer_start": [14, 4]}
    result = map_rows(questions(("Not Paris but Lyon.", given), ("Nobody knows.", []), good=0), FOR_INFERENCE, None)
    assert [row["answers"] for row in result.rows] == [given, {"text": [], "answer_start": []}]
    separate = {"question": "?", "context": "Lyon or Lyon", "answers": "Lyon", "answer_start": "8"}
    assert map_row(separate, FOR_INFERENCE)[0]["answers"] == {"text": ["Lyon"], "answer_start": [8]}


def test_answers_not_in_their_context_are_counted_and_rejected():
    result = map_rows(questions(("Not Paris but Lyon.", ["Rome"]), ("Not Paris.", "")), FOR_INFERENCE, None)
    assert len(result.rows) == 200 and reasons(result) == [
        (202, "its answer is not in its context: 'Rome'"),
        (203, "no answer (a question without one has [])"),
    ]


def test_above_one_percent_of_answers_not_in_their_context_is_an_error():
    wrong = [("Not Paris but Lyon.", ["Rome"])] * 3
    assert error_line(map_rows, questions(*wrong), FOR_INFERENCE, None) == (
        "65 reviews.csv: 3 of 203 rows cannot be used; the first is line 202: its answer is not in its context: 'Rome'. "
        "At most 1 % may be unusable: correct the file or choose other columns"
    )


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff ", "😀", "\ud83d"])
def test_context_keeps_its_bom_so_that_offsets_are_right(mark):
    """Answers are offsets into the context: without the BOM each would be one too low."""
    context = mark + "Paris, not Lyon and not Paris"
    given = {"text": ["Paris"], "answer_start": [len(mark) + 24]}
    result, _ = map_row({"question": "\ufeff where?", "context": context, "answers": given}, FOR_INFERENCE)
    assert result["context"] == context.replace("\ud83d", "?") and result["question"] == " where?"
    assert result["answers"] == given
    start = result["answers"]["answer_start"][0]
    assert result["context"][start : start + 5] == context[start : start + 5] == "Paris"


def test_inference_needs_no_answers():
    row = {"question": "where?", "context": "x" * 100_000 + " שלום", "answers": "nowhere in it"}
    assert map_row(row, {"question": "question", "context": "context"}) == (
        {"question": "where?", "context": "x" * 100_000 + " שלום"},
        "",
    )


# ---- samples


def test_limit_draws_a_seeded_sample_in_file_order():
    taken = sample_indices(1000, 100, 5)
    assert taken == sorted(set(taken)) and len(taken) == 100 and taken == sample_indices(1000, 100, 5)
    assert taken != sample_indices(1000, 100, 6) and taken[-1] > 900
    assert sample_indices(3, None, 0) == sample_indices(3, 9, 0) == [0, 1, 2]


def test_rows_keep_their_lines():
    result = map_rows(films([0, 1, 0, 1], ["a", "b", "c", "d"]), TEXT, TWO).keep([3, 1])
    assert [row["text"] for row in result.rows] == ["d", "b"] and result.numbers == [5, 3]
