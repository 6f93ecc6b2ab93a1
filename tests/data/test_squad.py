"""hftool/data/readers/squad.py, through read_table: nested articles become a row for each question."""

import json

import pytest

from hftool.data.readers.tables import read_table
from hftool.data.splits import has_targets
from hftool.errors import DataError

LYON = {"context": "Not Paris but Lyon 😀.", "qas": [{"id": 7, "question": "Where?"}]}


def read(tmp_path, articles, bare=False):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(articles if bare else {"version": "v2.0", "data": articles}), encoding="utf-8")
    return read_table(path, "train")


@pytest.mark.parametrize("bare", [False, True])
def test_each_question_becomes_a_row(tmp_path, bare):
    questions = [
        {"id": "a", "question": "Where?", "answers": [{"text": "Lyon", "answer_start": 14}, {"text": "in Lyon"}]},
        {"id": 8, "question": "When?", "answers": [], "is_impossible": True, "plausible_answers": [{"text": "x"}]},
        {"id": "c", "question": "Who?", "answers": [{"text": "Lyon", "answer_start": 14}], "is_impossible": True},
    ]
    more = {"context": "\ufeffשלום \ud83d", "qas": [{"id": "d", "question": "?", "is_impossible": False, "answers": []}]}
    table = read(tmp_path, [{"title": "City", "paragraphs": [{**LYON, "qas": questions}, more]}, {"paragraphs": [LYON]}], bare)
    assert table.columns == ("id", "title", "context", "question", "answers") and table.numbers == [1, 2, 3, 4, 5]
    assert table.rows[0] == {
        "id": "a",
        "title": "City",
        "context": LYON["context"],
        "question": "Where?",
        "answers": {"text": ["Lyon", "in Lyon"], "answer_start": [14, None]},
    }
    nothing = {"text": [], "answer_start": []}
    marked = {**nothing, "is_impossible": True}
    assert [row.get("answers") for row in table.rows[1:]] == [marked, marked, nothing, None]  # the last one: answers withheld
    assert [row["id"] for row in table.rows] == ["a", "8", "c", "d", "7"] and table.rows[3]["context"] == more["context"]


@pytest.mark.parametrize(
    ("articles", "where"),
    [
        ([{"paragraphs": [LYON]}, {"title": "x"}], 'data[1] has no list of "paragraphs"'),
        ([{"paragraphs": {"context": "x"}}], 'data[0] has no list of "paragraphs"'),
        ([{"paragraphs": [LYON, "x"]}], "data[0].paragraphs[1] is a JSON str, not an object"),
        ([{"paragraphs": [LYON, {"qas": []}]}], 'data[0].paragraphs[1] has no text under "context"'),
        ([{"paragraphs": [{"context": "x"}]}], 'data[0].paragraphs[0] has no list of "qas"'),
        ([{"paragraphs": [{"context": "x", "qas": [None]}]}], "data[0].paragraphs[0].qas[0] is a JSON NoneType, not an object"),
        ([{"paragraphs": [{"context": "x", "qas": [{}]}]}], 'data[0].paragraphs[0].qas[0] has no text under "question"'),
        (
            [{"paragraphs": [{"context": "x", "qas": [{"question": "?", "answers": {}}]}]}],
            'data[0].paragraphs[0].qas[0] has no list of "answers"',
        ),
        (
            [{"paragraphs": [{"context": "x", "qas": [{"question": "?", "answers": [{"text": 5}]}]}]}],
            'data[0].paragraphs[0].qas[0].answers[0] has no text under "text"',
        ),
    ],
)
def test_malformed_documents_are_reported_with_their_json_path(tmp_path, articles, where):
    with pytest.raises(DataError) as caught:
        read(tmp_path, articles)
    assert caught.value.detail == f"'{tmp_path / 'train.json'}': {where}"


def test_articles_without_questions_give_no_rows(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        read(tmp_path, [{"paragraphs": []}])


def test_impossible_questions_count_as_targets(tmp_path):
    questions = [{"id": i, "question": "When?", "answers": [], "is_impossible": True} for i in range(3)]
    assert has_targets(read(tmp_path, [{"paragraphs": [{**LYON, "qas": questions}]}], False), "answers")
    withheld = [{"id": i, "question": "When?", "answers": []} for i in range(3)]
    assert not has_targets(read(tmp_path, [{"paragraphs": [{**LYON, "qas": withheld}]}], False), "answers")
