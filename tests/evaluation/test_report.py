import ast
import json
import math
from pathlib import Path

import pytest

import hftool.heads
from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics
from hftool.registry.heads import all_heads, report_module

LANGUAGE = Metrics(("perplexity",), higher_is_better=False, report="language", answers=False)
LABELS = ("O", "B-x")
CASES = {  # what a head answers, and a row of it
    "classification": (("accuracy", "mcc"), {"label": "O", "probability": 1.0, "probabilities": {}}, {"text": "t", "label": 0}),
    "regression": (("spearman", "pearson"), {"score": 1.0}, {"text": "t", "label": 1.5}),
    "tagging": (("entity_f1", "accuracy"), {"entities": [], "tags": ["O"], "tokens": ["t"]}, {"tokens": ["t"], "tags": [0]}),
    "answers": (
        ("f1", "exact_match"),
        {"answer": "t", "start": 0, "end": 1, "probability": 1.0, "candidates": []},
        {"question": "q", "context": "t", "answers": {"text": ["t"], "answer_start": [0]}},
    ),
    "texts": (("chrf", "bleu", "rougeL"), {"text": "t"}, {"source": "s", "target": "t"}),
    "language": (("perplexity", "loss"), None, {"text": "t"}),
}


@pytest.mark.parametrize("kind", CASES)
def test_every_report_has_rows_loss_and_what_was_asked_for_as_numbers_that_json_can_hold(kind):
    names, answer, row = CASES[kind]
    metrics = Metrics(names, higher_is_better=True, report=kind)
    report = make_report([] if answer is None else [answer, answer], [row, row], metrics, LABELS, 0.5)
    assert report["rows"] == 2 and report["loss"] == 0.5
    assert all(type(report[name]) is float for name in names)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_every_report_has_its_errors():
    assert {kind for spec in all_heads() for kind, _ in spec.reports} == set(CASES)
    for kind in CASES:
        assert callable(report_module(kind).report) and callable(report_module(kind).error_rows)


def test_a_language_model_is_measured_by_its_loss_alone():
    rows = [{"text": "a"}, {"text": "b"}]
    assert make_report([], rows, LANGUAGE, (), 2.0) == {"rows": 2, "loss": 2.0, "perplexity": math.exp(2.0)}
    assert error_rows([], rows, [1, 2], LANGUAGE, ()) == []


def test_a_perplexity_beyond_all_numbers_can_still_be_written_as_json():
    report = make_report([], [{"text": "a"}], LANGUAGE, (), 1e6)
    assert report["perplexity"] > 1e308
    json.dumps(report, allow_nan=False)


def test_libraries_that_take_seconds_to_load_are_not_loaded_before_they_are_needed():
    slow, inside = {"seqeval", "rouge_score", "sacrebleu", "nltk"}, set()
    for path in Path(hftool.heads.__file__).parent.rglob("*report.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not slow & imported(tree.body), path.name
        inside |= imported(ast.walk(tree))
    assert slow <= inside


def imported(nodes):
    return {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
