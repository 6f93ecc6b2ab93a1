"""evaluate and predict: files in, files out, in order, honest."""

import csv
import json
import shutil

import pytest

from conftest import film_rows, write_tsv
from hftool import workflow
from hftool.errors import DataError, OutputUnavailable, UsageError
from hftool.workflow.resume_checks import check_unchanged
from support import families


def test_evaluate_a_run_measures_its_own_validation(tiny_run):
    report = workflow.evaluate(str(tiny_run))
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert report.split == "validation"
    assert report.metrics["accuracy"] == metrics["validation"]["accuracy"]
    assert report.metrics["loss"] == pytest.approx(metrics["validation"]["loss"])
    errors = [json.loads(line) for line in (tiny_run / "errors.jsonl").read_text().splitlines()]
    assert len(errors) == round((1 - report.metrics["accuracy"]) * 16)
    (tiny_run / "errors.jsonl").unlink()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_with_longer_texts_than_train_is_measured_as_the_saved_model_reads_it(split, tiny_bert, tmp_path):
    """max_length is set by the longest row of train: longer rows are truncated in the report, as in every later use."""
    from transformers import BertConfig, BertModel

    model = tmp_path / "bert"
    shutil.copytree(tiny_bert, model)
    config = BertConfig.from_pretrained(tiny_bert, max_position_embeddings=256)
    BertModel(config).save_pretrained(model)
    rows = film_rows(48)
    longer = [{**row, "sentence": "so " * 150 + row["sentence"]} for row in film_rows(16)]
    files = {"train": rows[:32], "validation": rows[32:40], "test": rows[40:], split: longer}
    paths = {name: str(write_tsv(tmp_path / f"{name}.tsv", part)) for name, part in files.items()}
    found = workflow.finetune(model, config={**paths, "max_steps": 8, "lr": 1e-3}, out=tmp_path / "run")
    again = workflow.evaluate(tmp_path / "run", split=split).metrics
    assert again["loss"] == found.metrics[split]["loss"] and again["accuracy"] == found.metrics[split]["accuracy"]
    assert found.run.read_manifest()["cut"][split] == 16


def test_errors_are_worst_first_and_name_the_line(tiny_run, tmp_path):
    rows = [{**row, "label": "1"} for row in film_rows(20)]
    rows[0]["label"] = "0"
    path = write_tsv(tmp_path / "test.tsv", rows)
    report = workflow.evaluate(str(tiny_run), str(path), errors=tmp_path / "wrong.jsonl")
    chances = [error["probability_of_expected"] for error in report.errors]
    assert chances == sorted(chances)
    texts = {row["sentence"]: number for number, row in enumerate(rows, start=2)}
    assert all(texts[error["text"]] == error["row"] for error in report.errors)


def test_evaluate_understands_names_and_values(tiny_run, tmp_path):
    """The same rows with 0/1 and with negative/positive measure the same; never by position."""
    rows = film_rows(20)
    named = [{**row, "label": ("negative", "positive")[int(row["label"])]} for row in rows]
    by_value = workflow.evaluate(str(tiny_run), str(write_tsv(tmp_path / "a.tsv", rows)))
    by_name = workflow.evaluate(str(tiny_run), str(write_tsv(tmp_path / "b.tsv", named)))
    assert by_value.metrics["accuracy"] == by_name.metrics["accuracy"]
    assert by_value.metrics["confusion"] == by_name.metrics["confusion"]


def test_a_label_that_the_model_lacks_is_named_with_its_line(tiny_run, tmp_path):
    rows = film_rows(8)
    rows[3]["label"] = "mixed"
    with pytest.raises(DataError, match=r"a\.tsv:5: the label 'mixed' is not one of"):
        workflow.evaluate(str(tiny_run), str(write_tsv(tmp_path / "a.tsv", rows)))


def test_evaluate_of_a_bare_model_needs_data(tiny_run):
    with pytest.raises(UsageError, match="Name a task or a file"):
        workflow.evaluate(str(tiny_run / "model"))


def test_predict_keeps_rows_order_and_columns(tiny_run, tmp_path):
    rows = [{"id": str(i), **row} for i, row in enumerate(film_rows(50))]
    source = tmp_path / "in.csv"
    with open(source, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ["id", "sentence", "label"])
        writer.writeheader()
        writer.writerows(rows)
    assert workflow.predict(str(tiny_run), str(source), out=tmp_path / "out.csv") == 50
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as handle:
        result = list(csv.DictReader(handle))
    assert list(result[0]) == [
        "id",
        "sentence",
        "label",
        "predicted_label",
        "probability",
        "probability_negative",
        "probability_positive",
    ]
    answers = workflow.infer(str(tiny_run), [row["sentence"] for row in rows])
    for row, line, answer in zip(rows, result, answers, strict=True):
        assert [line[key] for key in row] == list(row.values())
        assert line["predicted_label"] == answer["label"]
        assert float(line["probability"]) == pytest.approx(answer["probability"], abs=1e-6)


@pytest.mark.parametrize("ending", ["jsonl", "tsv", "parquet"])
def test_predict_writes_the_format_of_the_extension(ending, tiny_run, film_files, tmp_path):
    from hftool.data.readers.tables import read_table

    out = tmp_path / f"out.{ending}"
    workflow.predict(str(tiny_run), str(film_files / "dev.tsv"), out=out, top_k=2)
    table = read_table(out, "test")
    assert len(table.rows) == 16
    assert {"predicted_label", "probability", "label_2", "probability_2"} <= set(table.columns)


def test_predict_leaves_no_half_file(tiny_run, tmp_path):
    source = tmp_path / "bad.csv"
    source.write_text("sentence\n" + "fine\n" * 50 + "one,two\n" * 5, encoding="utf-8")
    with pytest.raises(DataError, match=r"5 of 55 rows of .* cannot be read; the first is line 52"):
        workflow.predict(str(tiny_run), str(source), out=tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_predict_gives_a_row_without_text_its_line(tiny_run, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text('sentence\na warm film\n""\na dull film\n', encoding="utf-8")
    workflow.predict(str(tiny_run), str(source), out=tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["label"] is None for line in lines] == [False, True, False]
    assert lines[1]["probability_positive"] is None


def test_predict_refuses_an_output_that_exists_before_loading(tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(OutputUnavailable):
        workflow.predict("no/such/folder", "in.csv", out=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_a_changed_file_is_named(tiny_bert, film_files, tmp_path):
    from hftool.progress import Event

    knobs = {"train": str(film_files / "train.tsv"), "validation": str(film_files / "dev.tsv"), "max_steps": 1}
    run = workflow.finetune(str(tiny_bert), "sst2", config=knobs, out=tmp_path / "run").run
    with open(film_files / "dev.tsv", "a", encoding="utf-8") as handle:
        handle.write("one more film\t1\n")
    events: list[Event] = []
    report = workflow.evaluate(str(run.path), progress=events.append)
    assert report.metrics["rows"] == 17
    assert [e.text for e in events if "has changed since the run" in e.text]


def test_a_run_on_a_stand_in_is_measured_on_the_same_stand_in(tiny_bert, tmp_path):
    """Even where nothing may stand in: what the manifest names is what the run was made of."""
    run = workflow.finetune(
        str(tiny_bert), "sst2", config={"max_steps": 1, "limit": 32}, out=tmp_path / "run", offline=True, fallback=True
    ).run
    report = workflow.evaluate(str(run.path), split="validation", offline=True)
    assert report.metrics["rows"] == 32
    stored = json.loads(run.manifest.read_text(encoding="utf-8"))
    assert stored["stand_in"] == {"data": {"requested": "sst2", "used": "sst2-mini"}}
    # as earlier versions stored it
    old = {"data": "sst2-mini for sst2"}
    run.manifest.write_text(json.dumps({**stored, "stand_in": old}), encoding="utf-8")
    head_config = json.loads((run.model / "hftool.json").read_text(encoding="utf-8"))
    (run.model / "hftool.json").write_text(json.dumps({**head_config, "stand_in": old}), encoding="utf-8")
    (run.model / "SHA256SUMS").unlink()
    assert workflow.evaluate(str(run.path), split="validation", offline=True).metrics == {**report.metrics, "stand_in": old}
    again = workflow.finetune(str(tiny_bert), "sst2", config={"max_steps": 1, "limit": 32}, out=run.path, resume=True)
    assert again.stand_in == old
    check_unchanged({**stored, "stand_in": old}, stored, run.path)


def test_a_row_that_the_head_refuses_is_blank_and_its_neighbours_are_answered(tmp_path):
    from hftool.progress import Event

    model = families.trained_run("bert", "fill")[0].run.path
    texts = ["the red [MASK]", "no blank here", "", "[MASK] red cat"]
    source = families.write_jsonl(tmp_path / "ask.jsonl", [{"text": text} for text in texts])
    message: list[Event] = []
    workflow.predict(str(model), str(source), out=tmp_path / "out.jsonl", progress=message.append)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [row["masks"] is None for row in rows] == [False, True, True, False]
    (notice,) = [event.text for event in message if "cannot be answered" in event.text]
    assert "2 of 4 rows of" in notice and "the first is line 2: no [MASK] in 'no blank here'" in notice
    families.write_jsonl(source, [{"text": "none"}])
    with pytest.raises(DataError, match="no .MASK. in 'none'"):
        workflow.predict(str(model), str(source), out=tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_a_base_model_is_measured_by_the_metrics_and_with_the_prefix_of_the_task():
    report = workflow.evaluate("t5-mini", "phrases-mini", limit=4, offline=True)
    assert {"bleu", "chrf"} <= set(report.metrics) and "rougeL" not in report.metrics


def test_a_task_is_not_measured_as_something_else():
    with pytest.raises(UsageError, match="'sst2-mini' is a task to classify, and this model is to fill"):
        workflow.evaluate("bert-mini", "sst2-mini", offline=True)
    with pytest.raises(UsageError, match="no wrongly predicted rows"):
        workflow.evaluate("gpt2-mini", "stories-mini", limit=2, errors="errors.jsonl", offline=True)


def test_a_file_without_right_answers_names_the_column(tmp_path):
    run = families.trained_run("t5", "text2text")[0].run.path
    path = families.write_jsonl(tmp_path / "blank.jsonl", [{"source": "red cat", "target": ""}])
    with pytest.raises(DataError, match=r"blank\.jsonl has nothing to measure by in column 'target'"):
        workflow.evaluate(str(run), str(path))


def test_a_model_of_pairs_is_never_asked_or_measured_with_half_of_a_pair(tmp_path):
    run = str(families.trained_run("bert", "pairs")[0].run.path)
    rows = families.pair_rows(8)
    halves = families.write_jsonl(tmp_path / "halves.jsonl", [{k: row[k] for k in ("sentence1", "label")} for row in rows])
    for ask in (
        lambda: workflow.predict(run, str(halves), out=tmp_path / "o.csv"),
        lambda: workflow.evaluate(run, str(halves)),
    ):
        with pytest.raises(DataError, match=r"halves\.jsonl has no column 'sentence2'; it has 'sentence1', 'label'"):
            ask()
    gap = families.write_jsonl(tmp_path / "gap.jsonl", [{"sentence1": "the red cat"}, *rows])
    with pytest.raises(DataError, match="no column 'sentence2'"):  # all the others were answered without theirs
        workflow.predict(run, str(gap), out=tmp_path / "o.csv")


def test_a_model_of_single_texts_is_measured_on_single_texts(tmp_path):
    run = str(families.trained_run("bert", "classify")[0].run.path)
    rows = [{**row, "text_pair": "cold and dull cold and dull"} for row in families.classify_rows(16)]
    path = families.write_jsonl(tmp_path / "more.jsonl", rows)
    assert workflow.evaluate(run, str(path), errors=tmp_path / "e.jsonl").metrics["accuracy"] == 1.0
    pairs = [{"sentence1": row["text"], "sentence2": "a", "label": row["label"]} for row in rows]
    with pytest.raises(DataError, match="has no column 'text'; it has 'sentence1', 'sentence2', 'label'"):
        workflow.evaluate(run, str(families.write_jsonl(tmp_path / "pairs.jsonl", pairs)))


def test_a_late_row_that_cannot_be_answered_has_the_columns_and_ends_nothing(tmp_path, monkeypatch):
    """It stood alone among the rows that were held at a time: the others were lost with it, or it had fewer columns."""
    monkeypatch.setattr("hftool.workflow._predict.ROWS_AT_A_TIME", 2)
    model = str(families.trained_run("bert", "fill")[0].run.path)
    for last in ("no blank here", ""):
        texts = ["the red [MASK]", "a [MASK] cat", last]
        source = families.write_jsonl(tmp_path / "ask.jsonl", [{"text": text} for text in texts])
        out = tmp_path / f"out{len(last)}.jsonl"
        assert workflow.predict(model, str(source), out=out) == 3
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert set(rows[0]) == set(rows[2]) and rows[2]["masks"] is None
