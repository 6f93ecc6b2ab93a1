"""The report on labels: accuracy, F1 by class and the confusion matrix."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hftool.data.readers.tables import Rows
from hftool.heads.label_metrics import measure_labels
from hftool.heads.protocol import Answers, Metrics
from hftool.heads.regression_report import input_texts


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Metrics, the majority baseline, precision, recall and F1 by class, and the confusion matrix.

    The matrix has a row for each true label and a column for each predicted one, in id order.
    """
    ids = {name: i for i, name in enumerate(labels)}
    expected, predicted = [row["label"] for row in rows], [ids[answer["label"]] for answer in answers]
    every = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(expected, predicted, labels=every, zero_division=0)
    majority, _ = Counter(expected).most_common(1)[0]
    compared = list(dict.fromkeys(["accuracy", *metrics.names]))
    return {
        **measure_labels(metrics.names, predicted, expected, len(labels)),
        "majority_baseline": {
            "label": labels[majority],
            **measure_labels(compared, [majority] * len(expected), expected, len(labels)),
        },
        "by_class": {
            name: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "rows": int(support[i])}
            for i, name in enumerate(labels)
        },
        "confusion": {"labels": list(labels), "matrix": confusion_matrix(expected, predicted, labels=every).tolist()},
    }


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The misclassified rows, those with the lowest probability of the expected label first."""
    wrong: list[dict[str, Any]] = []
    for answer, row, number in zip(answers, rows, numbers, strict=True):
        expected = labels[row["label"]]
        if answer["label"] != expected:
            sure = {"probability": answer["probability"], "probability_of_expected": answer["probabilities"][expected]}
            wrong.append({"row": number, "expected": expected, "answered": answer["label"], **sure, **input_texts(row)})
    return sorted(wrong, key=lambda error: error["probability_of_expected"])


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Label ids, for a module of `evaluate`."""
    ids = {name: i for i, name in enumerate(labels)}
    return [ids[answer["label"]] for answer in answers], [int(row["label"]) for row in rows]
