import ast
import json
import math
from pathlib import Path

import pytest

import hftool.heads
from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics
from hftool.registry.heads import all_heads, report_module, report_spec

LANGUAGE = Metrics(("perplexity",), higher_is_better=False, report="language", answers=False)
LABELS = ("O", "B-x")
CASES = {  # report -> metrics, an answer of its head, a row
    "classification": (("accuracy", "mcc"), {"label": "O", "probability": 1.0, "probabilities": {}}, {"text": "t", "label": 0}),
    "multi_label": (("samples_f1", "macro_f1"), {"labels": ["O"], "probabilities": {}}, {"text": "t", "label": (0,)}),
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
def test_every_report_has_rows_loss_and_its_metrics_as_json_numbers(kind):
    names, answer, row = CASES[kind]
    metrics = Metrics(names, higher_is_better=True, report=kind)
    report = make_report([] if answer is None else [answer, answer], [row, row], metrics, LABELS, 0.5)
    assert report["rows"] == 2 and report["loss"] == 0.5
    assert all(type(report[name]) is float for name in names)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_every_report_has_error_rows():
    assert {report.name for spec in all_heads() for report in spec.reports} == set(CASES)
    for kind in CASES:
        assert callable(report_module(kind).report) and callable(report_module(kind).error_rows)


@pytest.mark.parametrize("kind", CASES)
def test_every_deciding_metric_is_measured(kind):
    _, answer, row = CASES[kind]
    metrics = Metrics(report_spec(kind).metrics, higher_is_better=True, report=kind)
    report = make_report([] if answer is None else [answer, answer], [row, row], metrics, LABELS, 0.5)
    assert {*metrics.names} <= {*report} and "only_answer" not in report


def test_one_answer_to_rows_that_differ_is_reported():
    others = {
        "classification": {"label": 1},
        "multi_label": {"label": (1,)},
        "tagging": {"tags": [1]},
        "texts": {"target": "u"},
    }
    others["answers"] = {"answers": {"text": ["q"], "answer_start": [0]}}
    for kind, (_, answer, row) in CASES.items():
        metrics = Metrics(report_spec(kind).metrics, higher_is_better=True, report=kind)
        report = make_report([answer, answer] if answer else [], [row, row | others.get(kind, {})], metrics, LABELS, 0.5)
        assert report.get("only_answer") == ({"texts": "t", "answers": "t"}.get(kind, "O") if kind in others else None)


def test_language_models_are_evaluated_by_loss_only():
    rows = [{"text": "a"}, {"text": "b"}]
    assert make_report([], rows, LANGUAGE, (), 2.0) == {"rows": 2, "loss": 2.0, "perplexity": math.exp(2.0)}
    assert error_rows([], rows, [1, 2], LANGUAGE, ()) == []


def test_overflowing_perplexity_is_valid_json():
    report = make_report([], [{"text": "a"}], LANGUAGE, (), 1e6)
    assert report["perplexity"] > 1e308
    json.dumps(report, allow_nan=False)


def test_slow_libraries_are_imported_lazily():
    slow, imported_anywhere = {"seqeval", "rouge_score", "sacrebleu", "nltk"}, set()
    for path in Path(hftool.heads.__file__).parent.rglob("*report.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not slow & imported(tree.body), path.name
        imported_anywhere |= imported(ast.walk(tree))
    assert slow <= imported_anywhere


def imported(nodes):
    return {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
