"""hftool/data/readers/squad.py, through read_table: nested articles become a row for each question."""

import json

import numpy
import pytest

from hftool.data.columns import map_columns
from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table
from hftool.data.rows import map_rows
from hftool.data.splits import has_targets
from hftool.errors import DataError
from hftool.heads import head_class

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


# ---- related forms

WHERE = {"id": 7, "question": "Where?", "answers": [{"text": "Lyon", "answer_start": 14}]}
ROW = {"context": LYON["context"], "question": "Where?", "answers": {"text": ["Lyon"], "answer_start": [14]}}


def test_paragraphs_without_articles(tmp_path):
    paragraphs = [{"context": LYON["context"], "qas": [WHERE, {**WHERE, "id": 8}]}, {"context": "x", "qas": []}]
    for bare in (True, False):
        assert read(tmp_path, paragraphs, bare).rows == [{"id": "7", **ROW}, {"id": "8", **ROW}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(paragraph) + "\n" for paragraph in paragraphs), encoding="utf-8")
    table = read_table(path, "train")
    assert table.rows == [{"id": "7", **ROW}, {"id": "8", **ROW}] and "SQuAD's paragraphs" in table.notes[0]
    assert read_table(path, "train", ReadOptions(format="jsonl")).rows == paragraphs
    with pytest.raises(DataError) as caught:
        read(tmp_path, [{"context": "x", "qas": [{"id": 1}]}], bare=True)
    assert caught.value.detail == f"'{tmp_path / 'train.json'}': data[0].qas[0] has no text under \"question\""


def test_keys_of_cmrc_and_answers_without_offsets(tmp_path):
    qas = [{"query_id": "T_0", "query_text": "Where?", "answers": ["Lyon", "Lyon 😀"]}]
    articles = [{"context_id": "T", "context_text": LYON["context"], "qas": qas, "title": "City"}]
    (row,) = read(tmp_path, articles, bare=True).rows
    assert row == {"id": "T_0", "title": "City", **ROW, "answers": {"text": ["Lyon", "Lyon 😀"], "answer_start": [None, None]}}
    assert mapped(tmp_path / "train.json")[0]["answers"] == {"text": ["Lyon", "Lyon 😀"], "answer_start": [14, 14]}


def test_more_keys_of_drcd_korquad_and_germanquad(tmp_path):
    answer = {"text": "Lyon", "answer_start": 14, "id": "1", "answer_category": "SHORT", "document_id": 3}
    one = {"id": 7, "question": "Where?", "answers": [answer], "is_impossible": False}
    nested = [{"title": "City", "id": "1147", "paragraphs": [{"context": LYON["context"], "id": "1-1", "qas": [one]}]}]
    assert read(tmp_path, nested).rows == [{"id": "7", "title": "City", **ROW}]
    second = {"id": 7, "question": "Where?", "answer": {**answer, "html_answer_text": "<b>Lyon</b>"}}
    assert read(tmp_path, [{"context": LYON["context"], "raw_html": "x", "qas": [second]}]).rows == [{"id": "7", **ROW}]


def mapped(path):
    """The rows of a file as a question answering head takes them."""
    table = read_table(path, "train")
    _, mapping = map_columns(table.columns, head_class("answer").row_schemas, given={}, known={}, path=table.path)
    return map_rows(table, mapping, None).rows


@pytest.mark.parametrize(
    "answers",
    [
        "{'text': ['Lyon'], 'answer_start': [14]}",
        repr({"text": numpy.array(["Lyon"], dtype=object), "answer_start": numpy.array([14], dtype=numpy.int32)}),
        repr({"text": numpy.array(["Lyon"], dtype=object), "answer_start": numpy.array([14])}),
        json.dumps({"text": ["Lyon"], "answer_start": [14]}),
        json.dumps([{"text": "Lyon", "answer_start": 14}]),
    ],
)
def test_answers_as_pandas_prints_them(tmp_path, answers):
    path = tmp_path / "train.csv"
    cell = answers.replace('"', '""')
    path.write_text(f'context,question,answers\n{LYON["context"]},Where?,"{cell}"\n', encoding="utf-8")
    assert mapped(path)[0]["answers"] == {"text": ["Lyon"], "answer_start": [14]}


@pytest.mark.parametrize("name", ["answer_text", "answer", "answers"])
def test_flat_rows(tmp_path, name):
    path = tmp_path / "train.csv"
    path.write_text(f"context,question,{name},answer_start\n{LYON['context']},Where?,Lyon,14\n", encoding="utf-8")
    assert mapped(path)[0]["answers"] == {"text": ["Lyon"], "answer_start": [14]}


@pytest.mark.parametrize("cell", ["array(['x'])", "{'text': open('x')}", "{'text': array(open('x'))}", "{'text': array()}"])
def test_nothing_in_a_cell_is_executed(tmp_path, cell):
    path = tmp_path / "train.csv"
    path.write_text(f'context,question,answers\nx,?,"{cell}"\n', encoding="utf-8")
    with pytest.raises(DataError, match="its answer is not in its context"):
        mapped(path)
