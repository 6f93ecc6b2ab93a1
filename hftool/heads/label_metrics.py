"""Metrics of labels and of numbers as functions; none is downloaded."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata  # scikit-learn's metrics import it, too
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


def accuracy(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """The share of correct labels, 0 to 1."""
    return float(accuracy_score(expected, predicted))


def macro_f1(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """The mean F1 of the labels that occur, 0 to 1; a label that is never predicted has 0."""
    return float(f1_score(expected, predicted, average="macro", zero_division=0))


def mcc(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Matthews correlation of labels, -1 to 1; 0 where either side is constant."""
    if len(set(predicted)) == 1 or len(set(expected)) == 1:  # 0 in scikit-learn, too, with a warning where both are
        return 0.0
    return float(matthews_corrcoef(expected, predicted))


def positive_f1(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """F1 of the label with id 1, 0 to 1, as for paraphrases in GLUE; 0 where it neither occurs nor is predicted."""
    return float(f1_score(expected, predicted, labels=[1], average="macro", zero_division=0))


def pearson(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """Linear correlation, -1 to 1; 0 where either side is constant."""
    # not scipy's pearsonr: it warns about numbers that are nearly equal, and fails on a single one
    x, y = (np.asarray(values, np.float64) for values in (predicted, expected))
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # the mean of equal numbers may have a rounding error
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # the square of a tiny number would be 0
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """Rank correlation, -1 to 1, equal numbers having the mean of their ranks; 0 where either side is constant."""
    return pearson(rankdata(predicted), rankdata(expected))


def mean_absolute_error(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """The mean absolute difference of predicted and expected numbers, in their unit."""
    return float(np.mean(np.abs(np.asarray(predicted, np.float64) - np.asarray(expected, np.float64))))


OF_LABELS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}
OF_NUMBERS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "mean_absolute_error": mean_absolute_error,
}


def measure_labels(names: Sequence[str], predicted: Sequence[int], expected: Sequence[int], classes: int) -> dict[str, float]:
    """The metrics `names` of label ids; "f1" is that of label 1 where there are two labels, else macro-F1."""
    known = {**OF_LABELS, "f1": positive_f1 if classes == 2 else macro_f1}
    return {name: known[name](predicted, expected) for name in names}


def measure_numbers(names: Sequence[str], predicted: Sequence[float], expected: Sequence[float]) -> dict[str, float]:
    """The metrics `names` of numbers."""
    return {name: OF_NUMBERS[name](predicted, expected) for name in names}


def share(part: float, whole: float) -> float:
    """part / whole, 0 where whole is 0."""
    return part / whole if whole else 0.0


def harmonic(precision: float, recall: float) -> float:
    """F1, the harmonic mean; 0 where both are 0."""
    return share(2 * precision * recall, precision + recall)
