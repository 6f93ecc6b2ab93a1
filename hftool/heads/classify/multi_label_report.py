"""The report on rows with any number of labels: F1 over labels and rows, and precision, recall and F1 of each label."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from hftool.data.readers.tables import Rows
from hftool.heads.classify.head import indicators
from hftool.heads.protocol import Answers, Metrics
from hftool.heads.regression_report import input_texts


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Metrics, those of the best constant answer, and precision, recall and F1 by label, all as scikit-learn has them."""
    expected, predicted = _expected(rows, labels), _predicted(answers, labels)
    names = list(dict.fromkeys([*metrics.names, "micro_f1", "subset_accuracy"]))
    precision, recall, f1, support = precision_recall_fscore_support(expected, predicted, average=None, zero_division=0)
    constant = constant_labels(expected)
    baseline = {"labels": [labels[i] for i in constant]}
    same = np.tile(indicators([constant], len(labels)), (len(rows), 1))
    return {
        **measure_sets(names, predicted, expected),
        "constant_baseline": {**baseline, **measure_sets(names, same, expected)},
        "labels_a_row": {"expected": float(expected.sum()) / len(rows), "answered": float(predicted.sum()) / len(rows)},
        "by_class": {
            name: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "rows": int(support[i])}
            for i, name in enumerate(labels)
        },
    }


def measure_sets(names: Sequence[str], predicted: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """The metrics `names` of labels as 0 and 1 (N, C)."""
    found = {}
    for name in names:
        if name == "subset_accuracy":  # the share of rows with exactly the expected labels
            found[name] = float(accuracy_score(expected, predicted))
        else:
            found[name] = float(f1_score(expected, predicted, average=name.removesuffix("_f1"), zero_division=0))
    return found


def constant_labels(expected: np.ndarray) -> list[int]:
    """The ids of the labels that have the highest micro-F1 as the answer to all rows of labels as 0 and 1 (N, C)."""
    counts = expected.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(order) + 1)
    scores = 2 * np.cumsum(counts[order]) / (sizes * len(expected) + counts.sum())
    return sorted(order[: int(np.argmax(scores)) + 1].tolist()) if counts.any() else []


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with a label too many or too few, those with the least probable expected labels first."""
    wrong: list[tuple[float, dict[str, Any]]] = []
    for answer, row, number in zip(answers, rows, numbers, strict=True):
        expected = [labels[i] for i in row["label"]]
        if answer["labels"] == expected:
            continue
        chances = answer["probabilities"]
        right = [chance if name in expected else 1 - chance for name, chance in chances.items()]
        sure = sum(math.log(chance) if chance > 0 else -math.inf for chance in right)
        facts = {
            "missing": [name for name in expected if name not in answer["labels"]],
            "extra": [name for name in answer["labels"] if name not in expected],
            "probability_of_expected": math.exp(sure),
        }
        found = {"row": number, "expected": expected, "answered": answer["labels"], **facts, **input_texts(row)}
        wrong.append((sure, found))
    return [error for _, error in sorted(wrong, key=lambda pair: pair[0])]


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Lists of 0 and 1, one of each row, for a module of `evaluate`."""
    return _predicted(answers, labels).astype(int).tolist(), _expected(rows, labels).astype(int).tolist()


def _expected(rows: Rows, labels: Sequence[str]) -> np.ndarray:
    return indicators([row["label"] for row in rows], len(labels))


def _predicted(answers: Answers, labels: Sequence[str]) -> np.ndarray:
    ids = {name: i for i, name in enumerate(labels)}
    return indicators([[ids[name] for name in answer["labels"]] for answer in answers], len(labels))
