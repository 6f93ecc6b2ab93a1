"""hftool/data/schema.py: a cell becomes the value of its role, or a reason to reject the row."""

from decimal import Decimal

import numpy as np
import pyarrow
import pytest

from hftool.data.schema import answers_value, number_value, pair_lengths, tags_value, text_value, tokens_value

LONG = "a film " * 15_000
RIGHT_TO_LEFT = "שלום עולם"
PARIS = "Not Paris but Lyon, and Paris again."


# ---- texts


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a film", "a film"),
        ("\ufeff a film", " a film"),
        ("inside\ufeff it stays", "inside\ufeff it stays"),
        ("half \ud83d", "half ?"),
        ("a\0b", "a\0b"),
        (1.0, "1"),
        (2.5, "2.5"),
        (np.int64(7), "7"),
        (False, "false"),
        ("NA", "NA"),
        ("😀", "😀"),
        (RIGHT_TO_LEFT, RIGHT_TO_LEFT),
        (LONG, LONG),
    ],
)
def test_text_cells(cell, text):
    assert text_value(cell) == (text, "")


@pytest.mark.parametrize(
    "cell", [None, "", " \t\r\n\u3000", "\ufeff", "\u200b \0", float("nan"), ["a"], {"a": 1}, b"a", np.array(["a"])]
)
def test_cells_that_are_not_text(cell):
    assert text_value(cell) == (None, "no text")


# ---- numbers


@pytest.mark.parametrize(
    ("cell", "number"),
    [(4, 4.0), ("4.75", 4.75), (" \ufeff-1e-3\u00a0", -0.001), (np.float32(0.5), 0.5), (Decimal("2.5"), 2.5), ("0", 0.0)],
)
def test_number_cells(cell, number):
    assert number_value(cell) == (number, "")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("4,75", "'4,75' is not a number"),
        ("good", "'good' is not a number"),
        ("inf", "'inf' is not a number"),
        ("nan", "'nan' is not a number"),
        ("1e999", "'1e999' is not a number"),
        ("1_000", "'1_000' is not a number"),
        (True, "'true' is not a number"),
        ("two\nlines", "'two\\nlines' is not a number"),
        (float("nan"), "no number"),
        (None, "no number"),
        (" ", "no number"),
        ([1], "no number"),
        ("9" * 400, f"'{'9' * 80}...' is not a number"),
    ],
)
def test_error_shows_a_cell_that_is_not_a_number(cell, reason):
    assert number_value(cell) == (None, reason)


# ---- tokens and tags


@pytest.mark.parametrize(
    ("cell", "tokens"),
    [
        (["EU", "rejects"], ["EU", "rejects"]),
        (("EU", 3, 4.0), ["EU", "3", "4"]),
        (np.array(["EU", "rejects"]), ["EU", "rejects"]),
        (pyarrow.scalar(["EU", "rejects"]), ["EU", "rejects"]),
        ('["EU", "\\ud83d"]', ["EU", "?"]),
        ("['EU', \"it's\", 'a, b']", ["EU", "it's", "a, b"]),  # as in CSV files of pandas
        ("['EU' 'rejects'\n 'it']", ["EU", "rejects", "it"]),  # as printed by numpy: no commas
        ("EU  rejects\tit\n", ["EU", "rejects", "it"]),
        ("[ the end ]", ["[", "the", "end", "]"]),
        ("[ ... ]", ["[", "...", "]"]),
        (f"{RIGHT_TO_LEFT} 😀", [*RIGHT_TO_LEFT.split(), "😀"]),
        (LONG, LONG.split()),
        (["NA", "null"], ["NA", "null"]),
    ],
)
def test_every_form_of_a_token_list(cell, tokens):
    assert tokens_value(cell) == (tokens, "")


def test_empty_tokens_are_kept_so_that_tags_align():
    tokens, reason = tokens_value(["EU", "", None, "\ufeff", "it"])
    assert tokens == ["EU", "", "", "\ufeff", "it"] and reason == ""


@pytest.mark.parametrize("cell", [None, "", "  ", "[]", [], float("nan"), ["", " "], np.array([])])
def test_cells_without_tokens(cell):
    assert tokens_value(cell) == (None, "no tokens")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({"a": 1}, "not a list of tokens: {'a': 1}"),
        (5, "not a list of tokens: 5"),
        ([["EU"]], "token 1 is not a text: ['EU']"),
        (["EU", b"it"], "token 2 is not a text: b'it'"),
        ("['EU' ... 'it']", "a list of tokens that cannot be read: ['EU' ... 'it']"),  # numpy abbreviates long arrays
    ],
)
def test_error_shows_a_cell_that_is_not_a_token_list(cell, reason):
    assert tokens_value(cell) == (None, reason)


def test_deep_nesting_rejects_the_cell_only():
    for cell in ("[" * 100_000, "[" * 50_000 + "]" * 50_000):
        assert tokens_value(cell) == ([cell], "")


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        (["O", " B-PER\r"], ["O", "B-PER"]),
        ([0, 3.0, 1], ["0", "3", "1"]),
        ([1, 2, 9], ["1", "2", "9"]),  # counted from 1
        (np.array([0, 3]), ["0", "3"]),
        ("[0 0 3]", ["0", "0", "3"]),
        ("O B-PER", ["O", "B-PER"]),
    ],
)
def test_tags_are_text_and_ids_keep_their_digits(cell, tags):
    assert tags_value(cell) == (tags, "")


def test_missing_tags_are_rejected():
    assert tags_value(None) == tags_value("[]") == (None, "no tags")
    assert tags_value(["O", None, "O"]) == tags_value(["O", "  ", "O"]) == (None, "tag 2 is empty")


def test_number_of_tags_must_equal_the_number_of_tokens():
    assert pair_lengths(["a"] * 5, ["O"] * 5) == ""
    assert pair_lengths(["a"] * 5, ["O"] * 4) == "5 tokens and 4 tags"
    assert pair_lengths(["a"], []) == "1 token and 0 tags"


# ---- answers


@pytest.mark.parametrize(
    "cell",
    [
        {"text": ["Lyon"], "answer_start": [14]},
        {"text": np.array(["Lyon"]), "answer_start": np.array([14])},
        pyarrow.scalar({"text": ["Lyon"], "answer_start": [14]}),
        [{"text": "Lyon", "answer_start": 14}],
        {"text": "Lyon", "answer_start": 14},
        '{"text": ["Lyon"], "answer_start": [14]}',
        ' [{"text": "Lyon", "answer_start": 14}]',
        "{'text': ['Lyon'], 'answer_start': [14]}",
        ["Lyon"],
        "Lyon",
        " Lyon\n",
    ],
)
def test_every_form_of_answers(cell):
    assert answers_value(cell, None, PARIS) == ({"text": ["Lyon"], "answer_start": [14]}, "")


@pytest.mark.parametrize(
    ("start", "offset"),
    [(4, 4), ("4", 4), (None, 4), ("", 4), (-9, 4), (13, 4), (15, 24), (23, 24), (24, 24), (26, 24), (24.0, 24), (10**9, 24)],
)
def test_occurrence_nearest_to_the_given_start_is_used(start, offset):
    for cell, start_cell in (("Paris", start), ({"text": ["Paris"], "answer_start": [start]}, None)):
        assert answers_value(cell, start_cell, PARIS) == ({"text": ["Paris"], "answer_start": [offset]}, "")


def test_starts_counted_in_utf_16_units_are_corrected():
    context = "😀😀 שלום: Lyon, 1874. Lyon!"
    found, _ = answers_value({"text": ["Lyon", 1874.0, "שלום"], "answer_start": [11, 17]}, None, context)
    assert found == {"text": ["Lyon", "1874", "שלום"], "answer_start": [9, 15, 3]}
    with_bom = "\ufeff" + context  # a BOM shifts every start by one
    shifted, _ = answers_value({"text": ["Lyon"], "answer_start": [10]}, None, text_value(with_bom)[0])
    assert shifted["answer_start"] == [9]


def test_long_context_and_a_lone_surrogate():
    context, _ = text_value("x" * 100_000 + "half \ud83d end")
    assert answers_value("half \ud83d", 3, context) == ({"text": ["half ?"], "answer_start": [100_000]}, "")


@pytest.mark.parametrize(
    "cell",
    [
        [],
        "[]",
        {"text": [], "answer_start": []},
        '{"text": [], "answer_start": []}',
        {"text": [""], "answer_start": [-1]},
        {"text": ["Lyon"], "answer_start": [14], "is_impossible": True},
    ],
)
def test_unanswerable_question(cell):
    assert answers_value(cell, None, PARIS) == ({"text": [], "answer_start": []}, "")


@pytest.mark.parametrize("cell", [None, "", " ", float("nan"), {"answer_start": [1]}, [["Lyon"]], b"Lyon"])
def test_missing_cell_is_not_an_unanswerable_question(cell):
    assert answers_value(cell, 0, PARIS) == (None, "no answer (a question without one has [])")


def test_deeply_nested_answers_are_rejected():
    for cell in ('{"text": ' * 300 + '"Lyon"' + "}" * 300, "[" * 300 + "]" * 300, {"text": {"text": ["Lyon"]}}):
        assert answers_value(cell, None, PARIS)[1].startswith("no answer")
    for cell in ("[" * 100_000, "{" * 100_000):
        assert answers_value(cell, None, PARIS)[1].startswith("its answer is not in its context: '")


def test_error_shows_an_answer_that_is_not_in_its_context():
    assert answers_value("Rome", 4, PARIS) == (None, "its answer is not in its context: 'Rome'")
    none_of_two = {"text": ["x\n" * 60, "Rome"], "answer_start": [14, 0]}
    assert answers_value(none_of_two, None, PARIS) == (None, "its answer is not in its context: '" + "x\\n" * 40 + "...'")


def test_one_of_several_answers_must_be_in_the_context():
    """In CMRC 2018 one row in twenty has a second reference with an additional full stop."""
    given = {"text": ["Lyon.", "Lyon", "", "39764.0", "Paris"], "answer_start": [-1, 14, 0, -1, 4]}
    assert answers_value(given, None, PARIS) == (
        {"text": ["Lyon", "Paris", "Lyon.", "39764.0"], "answer_start": [14, 4, -1, -1]},
        "",
    )
