"""Models are trained on numbers on any scale: standardised inside, answered in the unit of the file by every verb."""

import dataclasses
import json

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import ConfigError, DataError
from hftool.heads.card_snippets import snippet
from hftool.models import read_head_config, write_head_config
from hftool.workflow.targets import scale_of
from support import families

KNOBS = {"epochs": 8, "batch_size": 16, "lr": 3e-3, "precision": "fp32"}
SCALES = {
    "as it is": (1.0, 0.0),
    "prices": (350.3, 600.0),
    "thousandths": (1e-3, 0.0),
    "millions": (1e6, 5e6 + 0.25),
    "negative": (40.3, -300.0),
    "far from zero": (0.05, 2e5),
}


def rows_of(a, b):
    """Rows whose number is an affine map of what two words decide."""
    rows = families.regression_rows(64)
    return [{**row, "label": a * float(row["label"]) + b} for row in rows]


def trained(folder, rows, model=None, out="run", **knobs):
    """A run on these rows, and what it answers to them."""
    folder.mkdir(exist_ok=True)
    path = families.write_jsonl(folder / f"{out}.jsonl", rows)
    files = {"train": str(path), "validation": str(path), "allow_leak": True}
    notices = []
    result = workflow.finetune(
        str(model or families.folder("bert")),
        config=KNOBS | files | knobs,
        out=folder / out,
        head="classify",
        offline=True,
        progress=lambda event: notices.append(event.text),
    )
    return result, answers(result.run.path, path), notices


def answers(model, path):
    out = path.with_suffix(".answers.jsonl")
    out.unlink(missing_ok=True)
    workflow.predict(str(model), str(path), out=out, offline=True)
    return np.array([json.loads(line)["score"] for line in out.read_text().splitlines()])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run on the numbers as they are."""
    return trained(tmp_path_factory.mktemp("plain"), rows_of(1.0, 0.0))


def test_it_learns_numbers_and_compares_with_the_median(plain):
    result, scores, _ = plain
    measured = result.metrics["validation"]
    assert result.metrics["deciding"] == "mean_absolute_error"
    wanted = np.array([row["label"] for row in rows_of(1.0, 0.0)])
    assert measured["median_baseline"]["mean_absolute_error"] == pytest.approx(np.abs(wanted - np.median(wanted)).mean())
    assert measured["mean_absolute_error"] < 0.7 * measured["median_baseline"]["mean_absolute_error"]
    assert np.abs(scores - wanted).mean() == pytest.approx(measured["mean_absolute_error"])


@pytest.mark.parametrize("name", [name for name in SCALES if name != "as it is"])
def test_answers_are_the_same_on_every_scale_but_for_the_scale(plain, tmp_path, name):
    a, b = SCALES[name]
    result, scores, _ = trained(tmp_path, rows_of(a, b))
    assert (scores - b) / a == pytest.approx(plain[1], rel=2e-4, abs=2e-4)
    assert result.metrics["validation"]["loss"] == pytest.approx(plain[0].metrics["validation"]["loss"], rel=1e-2, abs=1e-4)
    assert result.metrics["best_step"] == plain[0].metrics["best_step"]
    mean, scale = json.loads((result.run.model / "hftool.json").read_text())["label_scale"]
    labels = np.array([row["label"] / abs(a) for row in rows_of(a, b)])
    assert mean / abs(a) == pytest.approx(labels.mean()) and scale / abs(a) == pytest.approx(labels.std(), rel=1e-6)


def test_every_verb_answers_in_the_unit_of_the_file(tmp_path, monkeypatch):
    result, scores, _ = trained(tmp_path, rows_of(350.3, 600.0), epochs=1)
    run, text = result.run.path, families.regression_rows(64)[0]["text"]
    assert workflow.classify(str(run), [text])[0]["score"] == pytest.approx(scores[0], rel=1e-5)
    graphs = workflow.export(str(run), out=tmp_path / "onnx", offline=True)
    assert answers(tmp_path / "onnx", tmp_path / "run.jsonl") == pytest.approx(scores, rel=1e-4)
    assert graphs is not None
    saved = workflow.save(run, out=tmp_path / "last", checkpoint="last")
    assert answers(saved, tmp_path / "run.jsonl") == pytest.approx(scores, rel=1e-6)
    code = snippet(read_head_config(saved), "BertForSequenceClassification").replace("the red cat is warm and fine .", text)
    monkeypatch.chdir(saved)
    names = {}
    exec(code, names)
    assert names["answer"] == pytest.approx(scores[0], rel=1e-5)
    assert "prediction is the model's output * " in (saved / "README.md").read_text()


def test_a_card_of_the_version_before_has_no_scale_and_answers_the_output(plain, tmp_path):
    result, scores, _ = plain
    saved = workflow.save(result.run.path, out=tmp_path / "old")
    head_config = read_head_config(saved)
    mean, scale = head_config.label_scale
    write_head_config(saved, dataclasses.replace(head_config, label_scale=()))
    (saved / "SHA256SUMS").unlink()
    path = families.write_jsonl(tmp_path / "rows.jsonl", rows_of(1.0, 0.0))
    assert answers(saved, path) * scale + mean == pytest.approx(scores)


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "gpt2"])
def test_training_a_trained_model_starts_from_its_predictions(tmp_path, kind):
    """At a rate at which nothing is trained: the head is converted to the new mean and scale, and answers the same numbers."""
    first, scores, _ = trained(tmp_path, rows_of(1.0, 4.0), families.folder(kind), "first", epochs=2, lr=1e-3)
    again, same, notices = trained(tmp_path, rows_of(1.1, 4.5), first.run.path, "again", epochs=1, lr=1e-9)
    assert not any("moved onto" in text for text in notices)
    if kind == "gpt2":  # its head has no bias: the mean is that of the new numbers
        assert np.corrcoef(same, scores)[0, 1] > 0.9999
    else:
        assert same == pytest.approx(scores, rel=1e-3)
    assert read_head_config(again.run.model).label_scale != read_head_config(first.run.model).label_scale


def test_a_head_on_another_scale_is_rescaled_with_a_notice(tmp_path):
    first, scores, _ = trained(tmp_path, rows_of(1.0, 0.0), out="first")
    again, moved, notices = trained(tmp_path, rows_of(1e-3, 7.0), first.run.path, "again", epochs=1, lr=1e-9)
    assert any("its head is moved onto their scale" in text for text in notices)
    assert np.corrcoef(moved, scores)[0, 1] > 0.9999
    assert again.metrics["validation"]["mean_absolute_error"] < 1e-3


@pytest.mark.parametrize("scale", [["a", "b"], [1.0], [1.0, None], "ab", {"a": 1.0}, [1.0, float("inf")], [0.5, 1.0, 2.0]])
def test_a_damaged_scale_is_an_error(plain, tmp_path, scale):
    saved = workflow.save(plain[0].run.path, out=tmp_path / "saved")
    head_config = json.loads((saved / "hftool.json").read_text())
    (saved / "hftool.json").write_text(json.dumps(head_config | {"label_scale": scale}))
    (saved / "SHA256SUMS").unlink()
    with pytest.raises((ConfigError, DataError), match="label_scale"):
        workflow.classify(str(saved), ["a text"])


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 1.0, -1e6, 1e200])
def test_the_scale_of_any_numbers_is_finite(factor):
    mean, scale = scale_of([{"label": factor * value} for value in (1.0, 2.0, 6.0)])
    assert mean == pytest.approx(3 * factor, rel=1e-12) and scale == pytest.approx(abs(factor) * 14**0.5 / 3**0.5, rel=1e-12)


def test_numbers_that_are_all_the_same_have_the_scale_1():
    assert scale_of([{"label": 7.5}, {"label": 7.5}]) == (7.5, 1.0) and scale_of([{"label": 0.0}]) == (0.0, 1.0)
