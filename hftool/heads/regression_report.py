"""The report on numbers: correlation and mean absolute error, compared with a constant answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hftool.data.readers.tables import Row, Rows
from hftool.heads.label_metrics import measure_numbers
from hftool.heads.protocol import Answers, Metrics

TEXTS = ("text", "text_pair")


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Metrics and mean absolute error, and the same for a constant answer, the median, which has the lowest error."""
    expected, predicted = [float(row["label"]) for row in rows], [float(answer["score"]) for answer in answers]
    names = list(dict.fromkeys([*metrics.names, "mean_absolute_error"]))
    median = float(np.median(expected))
    baseline = {"score": median, **measure_numbers(names, [median] * len(expected), expected)}
    return {**measure_numbers(names, predicted, expected), "median_baseline": baseline}


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """All rows, the largest error first."""
    found: list[dict[str, Any]] = [
        {"row": number, "expected": float(row["label"]), "answered": float(answer["score"]), **input_texts(row)}
        for answer, row, number in zip(answers, rows, numbers, strict=True)
    ]
    return sorted(found, key=lambda error: -abs(error["expected"] - error["answered"]))


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Numbers, for a module of `evaluate`."""
    return [float(answer["score"]) for answer in answers], [float(row["label"]) for row in rows]


def input_texts(row: Row) -> dict[str, Any]:
    """The texts of a row, by role."""
    return {role: row[role] for role in TEXTS if role in row}
