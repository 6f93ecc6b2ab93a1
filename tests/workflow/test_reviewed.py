"""Faults that a reader found by hand: each was silent once."""

import families
import pytest

from hftool import workflow
from hftool.errors import UsageError


def test_a_base_model_is_measured_by_the_metrics_and_with_the_prefix_of_the_task():
    report = workflow.evaluate("t5-mini", "phrases-mini", limit=4, offline=True)
    assert {"bleu", "chrf"} <= set(report.metrics) and "rougeL" not in report.metrics


def test_a_task_is_not_measured_as_something_else():
    with pytest.raises(UsageError, match="'sst2-mini' is a task to classify, and this model is to fill"):
        workflow.evaluate("bert-mini", "sst2-mini", offline=True)
    with pytest.raises(UsageError, match="no rows that went wrong"):
        workflow.evaluate("gpt2-mini", "stories-mini", limit=2, errors="errors.jsonl", offline=True)


def test_numbers_in_the_data_can_be_given_names(tmp_path):
    rows = [{"tokens": ["Ann", "met", "Bob"], "ner_tags": [1, 0, 1]}, {"tokens": ["a", "Bob"], "ner_tags": [0, 1]}] * 10
    path = families.write_jsonl(tmp_path / "tags.jsonl", rows)
    config = {"train": str(path), "validation": str(path), "allow_leak": True, "max_steps": 1, "labels": ("O", "B-PER")}
    made = workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")
    assert set(made.metrics["validation"]["by_type"]) <= {"PER"}


def test_labels_and_weights_of_amounts_are_refused(tmp_path):
    rows = [{"text": f"film {i}", "label": i / 4} for i in range(20)]
    path = families.write_jsonl(tmp_path / "amounts.jsonl", rows)
    with pytest.raises(UsageError, match="class_weights means nothing where labels are amounts"):
        config = {"train": str(path), "class_weights": "balanced"}
        workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")


def test_a_text_that_is_cut_says_so(cli, tiny_run):
    texts = ["a warm film", "film " * 200]
    short, long = workflow.infer(str(tiny_run), texts)
    assert "cut" not in short and long["cut"] == 200 + 2 - 64
    _, _, err = cli("classify", tiny_run, *texts)
    assert "1 of 2 texts are longer than 64 tokens: what is over is not read" in err


def test_languages_must_be_two():
    loaded = workflow.load("t5-mini", offline=True)
    with pytest.raises(UsageError, match="that is from English to English"):
        workflow.translate(loaded, ["a"], to="en")


def test_the_error_is_of_the_head_that_lacks_least(tmp_path):
    path = families.write_jsonl(tmp_path / "source.jsonl", [{"source": "a"}, {"source": "b"}])
    with pytest.raises(Exception, match="has no column 'target'; it has 'source'. Try --target"):
        workflow.finetune("t5-mini", str(path), out=tmp_path / "run", offline=True)
