"""Metrics of labels and of numbers as plain functions; nothing is fetched from the Hub."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


def accuracy(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Share of rows whose label is right, 0 to 1."""
    return float(accuracy_score(expected, predicted))


def macro_f1(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Mean over the labels that occur of the F1 of each, 0 to 1; a label never predicted counts 0."""
    return float(f1_score(expected, predicted, average="macro", zero_division=0))


def mcc(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Matthews correlation of labels, -1 to 1; 0 where either side is constant."""
    if len(set(predicted)) == 1 or len(set(expected)) == 1:  # scikit-learn says 0 too, with a warning where both are
        return 0.0
    return float(matthews_corrcoef(expected, predicted))


def positive_f1(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """F1 of the label with id 1, 0 to 1, as GLUE measures paraphrases; 0 where it neither occurs nor is predicted."""
    return float(f1_score(expected, predicted, labels=[1], average="macro", zero_division=0))


def pearson(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """Linear correlation, -1 to 1; 0 where either side is constant."""
    answered, wanted = (np.asarray(values, np.float64) for values in (predicted, expected))
    if np.ptp(answered) == 0 or np.ptp(wanted) == 0:  # the mean of equal numbers may differ from them by a rounding
        return 0.0
    answered, wanted = answered - answered.mean(), wanted - wanted.mean()
    # each is scaled first: the square of a tiny number would be 0
    answered, wanted = answered / np.abs(answered).max(), wanted / np.abs(wanted).max()
    return float(np.clip(answered @ wanted / np.sqrt((answered @ answered) * (wanted @ wanted)), -1.0, 1.0))


def spearman(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """Correlation of the ranks, -1 to 1, where equal numbers share the mean of their ranks; 0 where either side is constant."""
    return pearson(_ranks(predicted), _ranks(expected))


def _ranks(values: Sequence[float]) -> list[float]:
    _, places, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: list[float] = (last - (counts - 1) / 2)[places].tolist()
    return ranks


def mean_absolute_error(predicted: Sequence[float], expected: Sequence[float]) -> float:
    """Mean distance of the answered number from the expected one, in their unit."""
    return float(np.mean(np.abs(np.asarray(predicted, np.float64) - np.asarray(expected, np.float64))))


OF_LABELS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
}
OF_NUMBERS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "mean_absolute_error": mean_absolute_error,
}


def measure_labels(names: Sequence[str], predicted: Sequence[int], expected: Sequence[int], classes: int) -> dict[str, float]:
    """The metrics called `names`, over label ids. "f1" is that of label 1 where there are two, else the macro-F1."""
    known = {**OF_LABELS, "f1": positive_f1 if classes == 2 else macro_f1}
    return {name: known[name](predicted, expected) for name in names}


def measure_numbers(names: Sequence[str], predicted: Sequence[float], expected: Sequence[float]) -> dict[str, float]:
    """The metrics called `names`, over numbers."""
    return {name: OF_NUMBERS[name](predicted, expected) for name in names}


def share(part: float, whole: float) -> float:
    """`part` of `whole`; 0 of nothing."""
    return part / whole if whole else 0.0


def harmonic(precision: float, recall: float) -> float:
    """F1: the harmonic mean of both, 0 where both are 0."""
    return share(2 * precision * recall, precision + recall)
