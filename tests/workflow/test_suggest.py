"""hftool.suggest and `hftool suggest`: which rows of a pool to label next."""

import dataclasses
import json

import pytest

import hftool
from hftool import workflow
from hftool.errors import DataError, UsageError
from hftool.workflow import _suggest
from support.annotated import write
from support.exports import exported
from support.families import classify_rows, inputs_of, run_of, tag_rows
from workflow.test_annotated_projects import tagged_documents

# neither of the words which decide the label
ODD = ["a cat went to a house .", "she is late .", "the the the"]


def texts(count=64):
    return [row["text"] for row in classify_rows(count)]


def test_rows_that_the_model_does_not_know_are_chosen_and_copies_once():
    pool = [{"text": text, "page": i} for i, text in enumerate([*texts(), *ODD, *texts(8), ODD[1].upper() + " ", ""])]
    found = hftool.suggest(run_of("classify"), pool, count=3)
    whole = hftool.suggest(run_of("classify"), pool, count=100)
    assert len({row["page"] for row in found.rows}) == 3 and len(whole.rows) == whole.pool
    assert found.rows[0]["uncertainty"] == max(row["uncertainty"] for row in whole.rows)
    assert (found.pool, found.copies, found.unusable, found.annotated) == (67, 9, 1, 0)
    assert found.uncertainty > found.pool_uncertainty and found.rows[0]["uncertainty"] > found.pool_uncertainty
    assert found.rows == hftool.suggest(workflow.load(run_of("classify")), pool, count=3).rows
    answer = workflow.classify(run_of("classify"), found.rows[0]["text"])
    assert found.rows[0]["label"] == answer["label"] and found.rows[0]["uncertainty"] == pytest.approx(
        1 - answer["probability"], abs=1e-3
    )


def test_rows_that_were_labelled_are_not_chosen_again(tmp_path):
    pool = [{"text": text} for text in [*texts(), *ODD]]
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("text,label\n" + "".join(f"{text},good\n" for text in ODD[:2]), encoding="utf-8")
    found = hftool.suggest(run_of("classify"), pool, count=100, exclude=labelled)
    assert len(found.rows) == found.pool == 65 and not {row["text"] for row in found.rows} & set(ODD[:2])
    with pytest.raises(DataError, match="none of the rows of the rows in memory can be suggested"):
        hftool.suggest(run_of("classify"), pool[-2:-1], exclude=[{"text": ODD[1]}])


def test_windows_and_words_of_a_tagger_and_pairs_are_scored(monkeypatch):
    monkeypatch.setattr(_suggest, "ROWS_AT_A_TIME", 5)  # several blocks
    rows = [{"text": " ".join(row["tokens"])} for row in tag_rows(16)]
    found = hftool.suggest(run_of("tag"), [*rows, {"text": " ".join(inputs_of("tag", tag_rows())[0])}], count=20)
    assert found.pool == 17 and {"entities", "tags", "tokens", "uncertainty"} <= found.rows[0].keys()
    answer_rows = [{"question": "where is the cat ?", "context": "bob went to paris ."}]
    assert hftool.suggest(run_of("answer"), answer_rows).rows[0].keys() >= {"answer", "uncertainty"}
    pairs = [{"sentence1": "the red cat", "sentence2": "the cat is warm"}]
    assert "label" in hftool.suggest(run_of("pairs"), pairs).rows[0]


def test_tasks_of_a_tool_have_the_answers_and_annotated_ones_are_left_out(cli, tmp_path):
    source = write(tmp_path / "pool.jsonl", "doccano", tagged_documents(8))
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for row in rows[2:]:
        row["label"] = []
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["suggest", str(run_of("tag")), str(source), "--count", "2"]
    code, out, err = cli(*words, "--to", "label-studio", "--out", "tasks.json")
    assert code == 0, err
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert len(tasks) == 2 and all(task["predictions"][0]["result"] for task in tasks)
    assert out.startswith("2 of 6 different rows in tasks.json; 2 are annotated: mean uncertainty 0.")
    code, out, _ = cli(*words, "--out", "again.jsonl", "--json")  # the form of the pool
    assert json.loads(out).items() >= {"rows": 2, "pool": 6, "annotated": 2, "out": "again.jsonl"}.items()
    assert all("label" in json.loads(line) for line in (tmp_path / "again.jsonl").read_text(encoding="utf-8").splitlines())
    code, out, err = cli(*words)
    assert len(out.splitlines()) == 2 and "uncertainty" in json.loads(out.splitlines()[0]) and "of 6 different rows" in err


@pytest.mark.parametrize("case, what", [("regression", "numbers"), ("generate", "generate"), ("embed", "embed")])
def test_other_models_are_refused(case, what, monkeypatch):
    loaded = workflow.load(run_of("classify"))
    head_config = dataclasses.replace(loaded.head_config, head=case.replace("regression", "classify"))
    if case == "regression":
        head_config = dataclasses.replace(head_config, problem_type="regression")
    monkeypatch.setattr(
        _suggest, "load_with_rows", lambda *_, **__: (dataclasses.replace(loaded, head_config=head_config), None)
    )
    with pytest.raises(UsageError, match=f"classifies, tags or answers, and this one is for {what}"):
        hftool.suggest("any", [{"text": "a"}])


def test_an_export_and_no_rows_are_refused():
    with pytest.raises(UsageError, match="count must be at least 1"):
        hftool.suggest(run_of("classify"), [{"text": "a"}], count=0)
    with pytest.raises(UsageError, match="the graphs of an export do not give"):
        hftool.suggest(exported("bert", "classify")[0], [{"text": "a"}])
