"""The report of an evaluation: metrics, by class, against the majority, and the rows that went wrong."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hftool.data.sources import Row
from hftool.evaluation.metrics import measure
from hftool.heads.protocol import Answer, Metrics


def classification_report(
    answers: Sequence[Answer], expected: Sequence[int], labels: Sequence[str], metrics: Metrics
) -> dict[str, Any]:
    """Metrics, the majority baseline, precision, recall and F1 by class, and the confusion matrix.

    expected: label ids. The matrix has a row for each true label and a column for each answered one, in id order.
    """
    ids = {name: i for i, name in enumerate(labels)}
    predicted = [ids[answer["label"]] for answer in answers]
    every = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(expected, predicted, labels=every, zero_division=0)
    majority, count = Counter(expected).most_common(1)[0]
    return {
        "rows": len(expected),
        **measure(metrics.names, predicted, expected),
        "majority_baseline": {"label": labels[majority], "accuracy": count / len(expected)},
        "by_class": {
            name: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "rows": int(support[i])}
            for i, name in enumerate(labels)
        },
        "confusion": {"labels": list(labels), "matrix": confusion_matrix(expected, predicted, labels=every).tolist()},
    }


REPORTS = {"classification": classification_report}


def make_report(
    answers: Sequence[Answer], expected: Sequence[int], metrics: Metrics, labels: Sequence[str], loss: float
) -> dict[str, Any]:
    """The report that a head asks for by `metrics.report`, with the loss."""
    return {**REPORTS[metrics.report](answers, expected, labels, metrics), "loss": loss}


def error_rows(
    rows: Sequence[Row], numbers: Sequence[int], answers: Sequence[Answer], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows whose label was missed, the surest mistakes first, for errors.jsonl."""
    wrong: list[dict[str, Any]] = []
    for row, number, answer in zip(rows, numbers, answers, strict=True):
        expected = labels[row["label"]]
        if answer["label"] != expected:
            texts: dict[str, Any] = {role: row[role] for role in ("text", "text_pair") if role in row}
            wrong.append(
                {
                    "row": number,
                    "expected": expected,
                    "answered": answer["label"],
                    "probability": answer["probability"],
                    "probability_of_expected": answer["probabilities"][expected],
                    **texts,
                }
            )
    return sorted(wrong, key=lambda error: error["probability_of_expected"])
