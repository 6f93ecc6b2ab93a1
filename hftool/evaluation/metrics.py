"""Metrics as plain functions on what the field's libraries compute; nothing is fetched from the Hub."""

from collections.abc import Callable, Sequence

from sklearn.metrics import accuracy_score, f1_score


def accuracy(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Share of rows whose label is right, 0 to 1."""
    return float(accuracy_score(expected, predicted))


def macro_f1(predicted: Sequence[int], expected: Sequence[int]) -> float:
    """Mean over the labels that occur of the F1 of each, 0 to 1; a label never predicted counts 0."""
    return float(f1_score(expected, predicted, average="macro", zero_division=0))


METRICS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {"accuracy": accuracy, "macro_f1": macro_f1}


def measure(names: Sequence[str], predicted: Sequence[int], expected: Sequence[int]) -> dict[str, float]:
    """The metrics called `names`, over label ids."""
    return {name: METRICS[name](predicted, expected) for name in names}
