"""The report on language models: the loss of a token and its perplexity; there are no answers to compare."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.heads.protocol import Answers, Metrics


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """The loss and the perplexity."""
    return {"loss": loss, "perplexity": perplexity(loss)}


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """No rows: none is right or wrong."""
    return []


def perplexity(loss: float) -> float:
    """exp(loss), or the largest float where that is infinite, which JSON does not have."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else sys.float_info.max
