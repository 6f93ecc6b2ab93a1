"""Progress of a run, and its best evaluation so far."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hftool.heads.protocol import Metrics

MIN_IMPROVEMENT = 1e-3  # share of a loss by which it must fall to count as lower

ON_DISK = {"evals_without_improvement": "worse"}  # names in state.json that differ


@dataclass
class TrainingState:
    """Progress of a run; together with weights, optimizer and random state it is everything that is saved."""

    step: int = 0  # steps taken
    epoch: int = 0  # completed epochs
    step_in_epoch: int = 0  # steps taken in the current epoch
    best_value: float | None = None  # the deciding metric of the best evaluation
    best_step: int = 0  # the step of the best evaluation
    evals_without_improvement: int = 0  # consecutive evaluations that improved neither the metric nor the loss; "worse" on disk
    seconds: float = 0.0  # training time
    best_loss: float | None = None  # the loss of the best evaluation; older checkpoints have none
    least_loss: float | None = None  # the lowest loss of all evaluations; older checkpoints have none

    def judge(self, measured: Mapping[str, float], metrics: Metrics) -> None:
        """Record the evaluation of the model at this step: its metrics and, under "loss", the loss.

        The deciding metric determines the best one; among equal values the lower loss does. A new lowest loss counts as
        improvement even when the metric does not change.
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
        self.evals_without_improvement = 0 if is_best or has_fallen else self.evals_without_improvement + 1

    def to_json(self) -> dict[str, Any]:
        """The fields under their names in state.json."""
        return {ON_DISK.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TrainingState":
        """Read the fields from a state.json; those that an older one lacks have their defaults."""
        names = {ON_DISK.get(one.name, one.name): one.name for one in fields(cls)}
        return cls(**{name: document[key] for key, name in names.items() if key in document})


def _is_lower(loss: float | None, than: float | None) -> bool:
    return loss is not None and (than is None or loss < than - MIN_IMPROVEMENT * abs(than))
