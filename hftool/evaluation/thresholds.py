"""The threshold of each label by its F1 on measured rows."""

from collections.abc import Sequence

import numpy as np

from hftool.models.head_config import THRESHOLD


def best_thresholds(probabilities: np.ndarray, expected: np.ndarray) -> tuple[float, ...]:
    """The threshold of each label with the highest F1, of several the one nearest to 0.5; 0.5 for a label that no row has.

    Each lies in the middle between two probabilities that occur, so that a rounding error changes no answer.

    Args:
        probabilities: Of each label in each row (N, C).
        expected: 0 and 1 (N, C).
    """
    return tuple(_best(chances, wanted) for chances, wanted in zip(probabilities.T, expected.T, strict=True))


def _best(chances: np.ndarray, wanted: np.ndarray) -> float:
    total = float(wanted.sum())
    if not total:
        return THRESHOLD
    order = np.argsort(-chances, kind="stable")
    values, right = chances[order], np.cumsum(wanted[order])
    f1 = 2 * right / (np.arange(1, len(values) + 1) + total)
    below = np.append(values[1:], 0.0)  # the next probability that is no longer over the threshold
    middles = (values + below) / 2
    possible: Sequence[int] = np.flatnonzero((values > below) & (middles > 0)).tolist()
    if not possible:
        return THRESHOLD
    highest = max(f1[i] for i in possible)
    ranges = [(float(values[i]), float(below[i]), float(middles[i])) for i in possible if f1[i] >= highest - 1e-12]
    if any(low < THRESHOLD <= high for high, low, _ in ranges):
        return THRESHOLD
    return min((middle for _, _, middle in ranges), key=lambda middle: abs(middle - THRESHOLD))
