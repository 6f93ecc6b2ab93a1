"""evaluate and predict under every head: its own data or a file, a limit, errors.jsonl, the columns, rows that are blank."""

import csv
import json

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import UsageError
from support import families

KINDS = {"generate": "gpt2", "text2text": "t5"}
MEASURES = {
    "classify": ("accuracy", "macro_f1"),
    "regression": ("pearson", "spearman"),
    "pairs": ("accuracy", "macro_f1"),
    "tag": ("entity_f1", "precision", "recall", "accuracy"),
    "answer": ("f1", "exact_match"),
    "generate": ("loss", "perplexity"),
    "text2text": ("rougeL", "rouge1"),
    "fill": ("loss", "perplexity"),
    "embed": ("spearman", "pearson"),
}
NEW = {  # what predict adds to the columns of the file
    "classify": ["predicted_label", "probability", "probability_bad", "probability_good"],
    "regression": ["score"],
    "pairs": ["predicted_label", "probability", *(f"probability_{a}-{b}" for a in ("blue", "red") for b in ("cold", "warm"))],
    "tag": ["entities", "predicted_tags", "predicted_tokens"],
    "answer": ["answer", "start", "end", "probability", "candidates"],
    "generate": ["text", "finish"],
    "text2text": ["text", "finish"],
    "fill": ["predicted_text", "masks"],
    "embed": ["predicted_score", "similarity"],
}
HEAD_CASES = pytest.mark.parametrize("head_case", families.HEAD_CASES)
LANGUAGE = ("generate", "fill")


def run_of(head_case):
    return families.trained_run(KINDS.get(head_case, "bert"), head_case)[0].run


def rows_of(head_case, count=64):
    return families.HEAD_CASES[head_case][1](count)


@HEAD_CASES
def test_evaluate_a_runs_own_data_repeats_what_the_run_measured(head_case, tmp_path):
    run = run_of(head_case)
    file = None if head_case in LANGUAGE else tmp_path / "errors.jsonl"  # of language no row is wrong
    report = workflow.evaluate(str(run.path), errors=file)
    kept = json.loads(run.metrics.read_text())["validation"]
    assert report.split == "validation"
    assert {name: report.metrics[name] for name in (*MEASURES[head_case], "rows")} == pytest.approx(
        {name: kept[name] for name in (*MEASURES[head_case], "rows")}
    )
    assert (tmp_path / "errors.jsonl").exists() == (head_case not in LANGUAGE)
    assert head_case not in LANGUAGE or not (run.path / "errors.jsonl").exists()


@HEAD_CASES
def test_evaluate_a_file_that_is_half_wrong(head_case, tmp_path):
    """Rows that expect what is not so: fewer points, and they are the errors, with their lines, the worst of them first."""
    rows = rows_of(head_case)
    for i, row in enumerate(rows):
        if i % 2:
            spoil(head_case, row)
    path = families.write_jsonl(tmp_path / "half.jsonl", rows)
    file = None if head_case in LANGUAGE else tmp_path / "wrong.jsonl"
    report = workflow.evaluate(str(run_of(head_case).path), str(path), errors=file)
    assert report.split == "half.jsonl"
    if head_case in LANGUAGE:
        right = json.loads(run_of(head_case).metrics.read_text())["validation"]["perplexity"]
        assert report.metrics["perplexity"] > 1.5 * right
        return
    assert report.metrics["rows"] == 64
    assert report.metrics[MEASURES[head_case][0]] < 0.8
    wrong = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert {error["row"] % 2 for error in wrong[:32]} == {0}  # the second line is the first that was spoilt
    assert len(wrong) == (64 if head_case in ("regression", "text2text", "embed") else 32)


def spoil(head_case, row):
    if head_case in ("classify", "pairs"):
        row["label"] = {"good": "bad", "bad": "good"}.get(
            row["label"], "red-warm" if row["label"] != "red-warm" else "blue-cold"
        )
    elif head_case == "regression":
        row["label"] = str(1.5 - float(row["label"]) if row["label"] in ("0.0", "1.5") else 3)
    elif head_case == "embed":
        row["score"] = "1" if row["score"] == "5" else "5"
    elif head_case == "tag":
        row["tags"] = ["O"] * (len(row["tags"]) - 1) + ["B-LOC"]
    elif head_case == "answer":
        row["answers"] = {"text": ["went"], "answer_start": [row["context"].index("went")]}
    elif head_case == "generate":
        row["completion"] = " pen ?"
    elif head_case == "text2text":
        row["target"] = "nichts"
    else:
        row["text"] = "who went to oslo ? where is the box ?"


@HEAD_CASES
def test_evaluate_takes_a_seeded_sample(head_case, tmp_path):
    path = families.write_jsonl(tmp_path / "rows.jsonl", rows_of(head_case))
    model = str(run_of(head_case).model)  # a model folder, into which no errors.jsonl is written
    first, again = (workflow.evaluate(model, str(path), limit=10, seed=3) for _ in range(2))
    assert first.metrics["rows"] == 10 and first.metrics == again.metrics


@HEAD_CASES
def test_predict_writes_its_columns_and_leaves_blank_rows_their_line(head_case, tmp_path):
    """CSV and JSON Lines hold the same; each row is answered as infer answers it, however many blank ones stand between."""
    rows = rows_of(head_case, 12)
    first = families.ASKED[head_case][0]
    texts, pairs = families.inputs_of(head_case, rows)
    if head_case == "fill":
        rows = [{"text": text} for text in texts]
    blank = {**rows[0], first: ["", " "] if head_case == "tag" else " "}
    source = families.write_jsonl(tmp_path / "in.jsonl", [*rows[:5], blank, *rows[5:], blank])
    events = []
    run = str(run_of(head_case).path)
    assert workflow.predict(run, str(source), out=tmp_path / "out.jsonl", progress=events.append) == 14
    assert "2 of 14 rows of" in next(event.text for event in events if "cannot be answered" in event.text)
    workflow.predict(run, str(source), out=tmp_path / "out.csv")
    result = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as handle:
        cells = list(csv.DictReader(handle))
    assert list(result[0]) == list(cells[0]) == [*rows[0], *NEW[head_case]]
    for number in (5, 13):
        assert all(result[number][name] is None and cells[number][name] == "" for name in NEW[head_case])
    del result[13], result[5]
    answers = workflow.infer(run, texts, pairs=pairs)
    for line, row, answer in zip(result, rows, answers, strict=True):
        assert {name: line[name] for name in row} == row
        name = NEW[head_case][0]
        key = name.removeprefix("predicted_")
        expected = answer[key] if key in answer else answer["label"]
        assert line[name] == (pytest.approx(expected, abs=1e-5) if isinstance(expected, float) else expected)


def test_predict_takes_the_settings_of_each_head(tmp_path):
    def lines(head_case, rows, **more):
        source = families.write_jsonl(tmp_path / f"{head_case}.jsonl", rows)
        out = tmp_path / f"{head_case}-{len(list(tmp_path.iterdir()))}.jsonl"
        workflow.predict(str(run_of(head_case).path), str(source), out=out, **more)
        return [json.loads(line) for line in out.read_text().splitlines()]

    [best] = lines("pairs", rows_of("pairs", 1), top_k=2)
    assert "label_2" in best and "label_3" not in best and best["probability"] > best["probability_2"]
    [filled] = lines("fill", [{"text": "cat cat [MASK] cat"}], options={"top_k": 3})
    assert [len(mask["fills"]) for mask in filled["masks"]] == [3]
    drawn = {"sampling": {"samples": 2, "temperature": 1.0, "max_new_tokens": 3}}
    assert [len(line["samples"]) for line in lines("generate", rows_of("generate", 2), options=drawn)] == [2, 2]
    assert lines("text2text", rows_of("text2text", 1), options={"sampling": {"max_new_tokens": 1}})[0]["finish"] == "length"
    with pytest.raises(UsageError, match="unknown sampling parameter 'beam'"):
        lines("text2text", rows_of("text2text", 1), options={"sampling": {"beam": 2}})


def test_vectors_go_into_an_array(tmp_path):
    source = families.write_jsonl(tmp_path / "texts.jsonl", [{"text": "the red cat"}, {"text": " "}, {"text": "the blue dog"}])
    out = tmp_path / "vectors.npy"
    run = str(run_of("embed").path)
    workflow.predict(run, str(source), out=out, column={"text": "text"})
    result = np.load(out)
    assert result.shape == (3, 48) and np.isnan(result[1]).all()
    assert np.allclose(result[[0, 2]], workflow.embed(run, ["the red cat", "the blue dog"]), atol=1e-6)


def test_answers_go_where_the_file_has_a_column_of_that_name(tmp_path):
    """The column of the file is kept as it is; ours is called predicted_NAME."""
    source = families.write_jsonl(tmp_path / "in.jsonl", [{**rows_of("answer", 1)[0], "answer": "mine"}])
    workflow.predict(str(run_of("answer").path), str(source), out=tmp_path / "out.jsonl")
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["answer"], line["predicted_answer"]) == ("mine", "rome")
