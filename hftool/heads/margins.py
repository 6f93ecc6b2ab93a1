"""The margin of a choice: its logit minus that of the next best."""

import math
from collections.abc import Sequence


def margin_of(probabilities: Sequence[float]) -> float:
    """The margin of the most probable of some choices, from their probabilities; infinite if there is one choice."""
    if len(probabilities) < 2:
        return math.inf
    second, first = sorted(probabilities)[-2:]
    return math.log(first / second) if second else math.inf
