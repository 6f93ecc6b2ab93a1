"""The margin of a choice: its logit minus that of the next best, or the distance of a logit to its threshold."""

import math
from collections.abc import Sequence


def margin_of(probabilities: Sequence[float]) -> float:
    """The margin of the most probable of some choices, from their probabilities; infinite if there is one choice."""
    if len(probabilities) < 2:
        return math.inf
    second, first = sorted(probabilities)[-2:]
    return math.log(first / second) if second else math.inf


def threshold_margin(probabilities: Sequence[float], thresholds: Sequence[float]) -> float:
    """The least distance of a logit to that of its threshold, from the probabilities of independent choices."""
    pairs = zip(probabilities, thresholds, strict=True)
    return min((abs(_logit(one) - _logit(least)) for one, least in pairs if 0 < one < 1 and 0 < least < 1), default=math.inf)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
