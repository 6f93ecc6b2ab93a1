"""Several labels a row from file to answers: one model from three forms, plain transformers, evaluate, predict, export, save."""

import asyncio
import json
import re
import shutil

import numpy as np
import pytest
import torch

from conftest import one_line
from hftool import workflow
from hftool.engines.onnx import OnnxModel
from hftool.models.head_config import read_head_config
from hftool.server.http.app import make_app
from hftool.workflow._load import load, make_predictor
from support import families
from support.asgi_calls import call, served, service
from support.fake_predictor import serving
from support.label_sets import LABELS, label_rows, write_columns, write_joined, write_lists

FORMS = {  # how a form is written, and the settings that read it
    "joined": (write_joined, {"labels_sep": "|", "columns": {"label": "emotions"}}),
    "lists": (write_lists, {"columns": {"label": "emotions"}}),
    "columns": (
        lambda path, rows: write_columns(path, rows, ("wonder", "joy", "anger")),
        {"columns": {"label": "wonder,joy,anger"}},
    ),
}
TEXT = "who is the warm red cat ?"


def trained(folder, form="joined", kind="bert", **knobs):
    """A run on the rows in a form; train is validation, too."""
    write, reading = FORMS[form]
    file = str(write(folder / f"{form}.{'jsonl' if form == 'lists' else 'tsv'}", label_rows()))
    config = {"train": file, "validation": file, "allow_leak": True, "batch_size": 8, "lr": 3e-3, **reading, **knobs}
    return workflow.finetune(str(families.folder(kind)), config=config, out=folder / f"{form}-run")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A run that has learned the rows, with a threshold for each label."""
    return trained(tmp_path_factory.mktemp("several"), epochs=40, eval_steps=240, thresholds="f1", class_weights="balanced")


@pytest.fixture(scope="module")
def folder(result):
    return result.run.path.parent


def test_three_forms_give_the_same_model(tmp_path):
    runs = [trained(tmp_path, form, max_steps=3, accumulate=2).run for form in FORMS]
    assert len({(run.model / "model.safetensors").read_bytes() for run in runs}) == 1
    configs = [read_head_config(run.model) for run in runs]
    assert {(one.labels, one.labels_sep, one.problem_type) for one in configs} == {(LABELS, "|", "multi_label_classification")}
    assert json.loads((runs[0].model / "config.json").read_text())["id2label"] == dict(zip("012", LABELS, strict=True))


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_plain_transformers_gives_the_same_probabilities_and_loss(kind, tmp_path):
    import transformers

    run = trained(tmp_path, kind=kind, max_steps=2).run
    auto = transformers.AutoModelForTokenClassification if kind == "t5" else transformers.AutoModelForSequenceClassification
    model, tokenizer = auto.from_pretrained(run.model).eval(), transformers.AutoTokenizer.from_pretrained(run.model)
    assert model.config.problem_type == "multi_label_classification"
    with torch.inference_mode():
        logits = model(**tokenizer(TEXT, return_tensors="pt")).logits[0]
    chances = (logits.mean(0) if kind == "t5" else logits).sigmoid().tolist()
    assert list(workflow.classify(run, TEXT)["probabilities"].values()) == pytest.approx(chances, abs=1e-6)
    if kind == "bert":
        rows = label_rows(8)
        inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        wanted = torch.tensor([[float(name in row["emotions"]) for name in LABELS] for row in rows])
        with torch.inference_mode():
            loss = float(model(**inputs, labels=wanted).loss)
        config = {"column": {"label": "emotions"}}
        assert workflow.evaluate(run, rows, **config).metrics["loss"] == pytest.approx(loss, rel=1e-5)
        found = transformers.pipeline("text-classification", model=str(run.model))(TEXT, top_k=None)
        assert {one["label"]: one["score"] for one in found} == pytest.approx(
            workflow.classify(run, TEXT)["probabilities"], abs=1e-6
        )


def test_what_was_learned_is_answered_and_measured_in_any_form(result, folder):
    metrics = result.metrics["validation"]
    assert result.metrics["deciding"] == "micro_f1" and metrics["micro_f1"] == metrics["subset_accuracy"] == 1.0
    assert metrics["constant_baseline"]["micro_f1"] < 0.7 and set(metrics["by_class"]) == set(LABELS)
    answers = workflow.classify(result, [TEXT, "where is the red cat ?"])
    assert [one["labels"] for one in answers] == [["joy", "wonder"], []]
    files = [
        FORMS[form][0](folder / name, label_rows(12))
        for form, name in (("joined", "a.tsv"), ("lists", "b.jsonl"), ("columns", "c.tsv"))
    ]
    given = [{}, {}, {"column": {"label": "wonder,joy,anger"}}]
    reports = [workflow.evaluate(result, file, **more).metrics for file, more in zip(files, given, strict=True)]
    assert reports[0] == reports[1] == reports[2] and reports[0]["micro_f1"] == 1.0
    other = write_joined(folder / "other.tsv", label_rows(12), separator=" ; ")
    assert workflow.evaluate(result, other, labels_sep=";").metrics == reports[0]
    assert workflow.evaluate(result).metrics["micro_f1"] == 1.0 and (result.run.path / "errors.jsonl").read_text() == ""


def test_thresholds_are_kept_and_used_everywhere(result, tmp_path):
    head_config = read_head_config(result.run.model)
    assert head_config.label_thresholds == tuple(result.metrics["thresholds"]) and len(head_config.label_thresholds) == 3
    assert min(head_config.class_weights) > 0 and "reaches its threshold (anger" in (result.run.model / "README.md").read_text()
    high = shutil.copytree(result.run.model, tmp_path / "high")
    document = json.loads((high / "hftool.json").read_text())
    (high / "hftool.json").write_text(json.dumps({**document, "label_thresholds": [0.5, 0.999999, 0.5]}))
    (high / "SHA256SUMS").unlink()
    assert workflow.classify(high, TEXT)["labels"] == ["wonder"]
    assert workflow.evaluate(high, label_rows(12), column={"label": "emotions"}).metrics["by_class"]["joy"]["recall"] == 0.0
    again = workflow.save(result.run, tmp_path / "again")
    assert read_head_config(again) == head_config
    damaged = shutil.copytree(result.run.path, tmp_path / "run")
    (damaged / "model" / "model.safetensors").write_bytes(b"")
    assert read_head_config(workflow.save(damaged, tmp_path / "restored")).label_thresholds == head_config.label_thresholds


def test_a_file_gets_joined_labels_and_a_column_for_each_probability(result, tmp_path):
    file = write_joined(tmp_path / "new.tsv", label_rows(6))
    assert workflow.predict(result, file, out=tmp_path / "out.csv") == 6
    header, *lines = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "text,emotions,labels,probability_anger,probability_joy,probability_wonder"
    assert [line.split(",")[1] for line in lines] == [line.split(",")[2] for line in lines]
    rows = workflow.predict(result, label_rows(3), top_k=2)
    assert list(rows[0])[2:] == ["labels", "label_1", "probability_1", "label_2", "probability_2"]
    assert workflow.evaluate(result, tmp_path / "out.csv", column={"label": "labels"}).metrics["micro_f1"] == 1.0


def test_command_line_shows_labels_and_evaluates(result, cli, tmp_path):
    code, out, _ = cli("classify", result.run.path, TEXT, "where is the red cat ?")
    lines = out.splitlines()
    assert code == 0 and re.fullmatch(rf"(joy\|wonder|wonder\|joy)\t0\.\d+\|0\.\d+\t{re.escape(TEXT)}", lines[0])
    assert lines[1] == "\t\twhere is the red cat ?"
    [document] = json.loads(cli("classify", result.run.path, TEXT, "--json")[1])["answers"]
    assert document["labels"] == ["joy", "wonder"] and set(document["probabilities"]) == set(LABELS)
    file = write_joined(tmp_path / "new.tsv", label_rows(6), separator=";")
    code, out, _ = cli("evaluate", result.run.path, file, "--labels-sep", ";", "--out", "wrong.jsonl")
    assert code == 0 and "6 rows, 0 wrong" in out and re.search(r"micro_f1 +1\.0+ +\(always '.*': 0\.\d+\)", out)
    assert cli("classify", result.run.path, "--file", file, "--out", "scored.jsonl")[:2] == (0, "6 rows in scored.jsonl\n")
    assert json.loads((tmp_path / "scored.jsonl").read_text().splitlines()[0])["labels"] == "joy"


def test_an_export_answers_with_the_same_labels(result, tmp_path):
    exported = workflow.export(result, out=tmp_path / "onnx")
    assert exported.report["parity"]["answers"] == {"texts": 48, "compared": "labels", "same": 48, "of": 48}
    assert exported.report["metrics"]["after"]["micro_f1"] == 1.0
    loaded = load(exported.path)
    assert isinstance(loaded.model, OnnxModel) and loaded.head_config.label_thresholds
    before, after = workflow.classify(result, [TEXT])[0], workflow.classify(loaded, [TEXT])[0]
    assert before["labels"] == after["labels"]
    np.testing.assert_allclose(*[list(one["probabilities"].values()) for one in (before, after)], atol=1e-5)


def test_server_replies_with_all_labels_and_its_schema_says_so(result):
    loaded = load(result)

    async def _scene():
        gate = type("Fake", (), {"gate": asyncio.Event()})()
        async with serving(gate, make=lambda options: make_predictor(loaded, options=options, packed=True)) as batcher:
            app = make_app(service(served(make_predictor(loaded).head, batcher)))
            code, _, body, _ = await call(app, "/predict", {"inputs": TEXT})
            assert code == 200 and {one["label"] for one in body[0] if one["selected"]} == {"joy", "wonder"}
            assert len(body[0]) == 3 and body[0][0]["score"] >= body[0][1]["score"]
            assert "selected" in json.dumps((await call(app, "/openapi.json"))[2])

    asyncio.run(_scene())


def test_bad_input_is_one_line_and_writes_nothing(result, tiny_run, cli, tmp_path):
    joined, columns = write_joined(tmp_path / "j.tsv", label_rows()), write_columns(tmp_path / "c.tsv", label_rows())
    single = tmp_path / "s.tsv"
    single.write_text("text\tlabel\n" + "".join(f"{row['text']}\t{i % 2}\n" for i, row in enumerate(label_rows(12))))
    before = sorted(tmp_path.iterdir())
    bert = families.folder("bert")
    cases = [
        (65, "holds the separator ';'", "finetune", bert, joined, "--label", "emotions", "--labels-sep", ";"),
        (65, "has no column 'fear'", "finetune", bert, columns, "--label", "joy,anger,fear"),
        (
            2,
            "labels_sep has no effect on a model that learns to fill",
            "finetune",
            bert,
            joined,
            "--head",
            "fill",
            "--labels-sep",
            "|",
        ),
        (2, "thresholds has no effect on one label", "finetune", bert, single, "--thresholds", "f1"),
        (2, "labels_sep has no effect on a model with one label", "evaluate", tiny_run, joined, "--labels-sep", "|"),
        (65, "the label '0' is not one of", "evaluate", result.run.path, single),
        (65, "holds the separator ';'", "evaluate", result.run.path, joined, "--labels-sep", ";"),
    ]
    for code, message, *words in cases:
        found, _, error = cli(*words, *(["--out", "run"] if words[0] == "finetune" else []))
        assert found == code and message in one_line(error.splitlines(keepends=True)[-1]), (words, error)
        assert sorted(tmp_path.iterdir()) == before
