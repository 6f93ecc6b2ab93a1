"""Where a run stands, and which of its evaluations is the best so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hftool.heads.protocol import Metrics

LEAST_FALL = 1e-3  # share of a loss; one that falls by less has not fallen


@dataclass
class TrainingState:
    """Where a run stands; with weights, optimizer and generators it is all that there is to save.

    best_value, best_loss: the deciding metric and the loss of the best evaluation. least_loss: the lowest loss of all.
    worse: evaluations in a row that improved neither the metric nor the loss. In checkpoints of older versions there are no
    losses.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_value: float | None = None
    best_step: int = 0
    worse: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    least_loss: float | None = None

    def judge(self, measured: Mapping[str, float], metrics: Metrics) -> None:
        """Take in an evaluation of the model at this step.

        The deciding metric says whether it is the best; of equal values the lower loss wins. A lower loss than ever counts as
        progress even when the metric stands still.

        Args:
            measured: The deciding metric and, under "loss", the loss.
            metrics: Which metric decides.
        """
        value, loss = measured[metrics.best], measured.get("loss")
        loss = None if loss is None or math.isnan(loss) else loss
        is_tie = value == self.best_value and _is_lower(loss, self.best_loss)
        is_best = self.best_value is None or metrics.is_better(value, self.best_value) or is_tie
        has_fallen = _is_lower(loss, self.least_loss)
        if is_best:
            self.best_value, self.best_step, self.best_loss = value, self.step, loss
        if has_fallen:
            self.least_loss = loss
        self.worse = 0 if is_best or has_fallen else self.worse + 1


def _is_lower(loss: float | None, than: float | None) -> bool:
    return loss is not None and (than is None or loss < than - LEAST_FALL * abs(than))
