"""Which evaluation of a run is the best, and which of them count as progress."""

import pytest

from hftool.heads.protocol import Metrics
from hftool.training.training_state import TrainingState

ACCURACY = Metrics(("accuracy", "macro_f1"), higher_is_better=True, report="classification")
ERROR = Metrics(("mean_absolute_error",), higher_is_better=True, report="regression")
LOSS = Metrics(("loss", "accuracy"), higher_is_better=True, report="classification")
SPOKEN = Metrics(("perplexity",), higher_is_better=False, report="language")


def judged(metrics, pairs, position=None):
    """The position after evaluations (metric, loss) at steps 1, 2, ..."""
    position = position or TrainingState()
    for step, (value, loss) in enumerate(pairs, start=1):
        position.step = step
        position.judge({metrics.best: value} | ({} if loss is None else {"loss": loss}), metrics)
    return position


@pytest.mark.parametrize(
    ("metrics", "pairs", "best", "worse"),
    [
        (ACCURACY, [(0.95, 0.526), (0.95, 0.3), (0.95, 0.2), (0.95, 0.143)], 4, 0),  # the issue's own plateau
        (ACCURACY, [(0.95, 0.2), (0.95, 0.3), (0.95, 0.4)], 1, 2),
        (ACCURACY, [(0.95, 0.5), (0.90, 0.4), (0.94, 0.3)], 1, 0),  # not the best, but still improving
        (ACCURACY, [(0.5, 0.5), (0.9, 0.6), (0.9, 0.55)], 3, 0),  # a tie, with a lower loss than that of the best
        (ACCURACY, [(0.5, 0.5), (0.9, 0.6), (0.9, 0.7)], 2, 1),
        (ACCURACY, [(0.0, 9.0), (0.0, 8.0), (0.0, 8.5), (0.0, 8.0)], 2, 2),
        (ACCURACY, [(0.5, 0.7), (0.5, 0.69999), (0.5, 0.69998)], 1, 2),  # rounding is no progress
        (ACCURACY, [(0.5, None), (0.5, None), (0.6, None), (0.6, None)], 3, 1),
        (ACCURACY, [(0.5, float("nan")), (0.5, 0.4)], 2, 0),
        (ERROR, [(3.0, 1.0), (2.0, 1.0), (2.5, 1.0)], 2, 1),
        (LOSS, [(1.0, 1.0), (0.9, 0.9), (0.95, 0.95)], 2, 1),
        (SPOKEN, [(9.0, 2.2), (8.0, 2.0), (8.5, 2.1), (8.6, 2.2)], 2, 2),
    ],
)
def test_ties_are_decided_by_the_loss_and_patience_counts_what_improves_neither(metrics, pairs, best, worse):
    position = judged(metrics, pairs)
    assert (position.best_step, position.evals_without_improvement) == (best, worse)


def test_a_position_of_the_version_before_has_no_losses():
    position = judged(ACCURACY, [(0.9, 0.5)], TrainingState(best_value=0.9, best_step=0, evals_without_improvement=2))
    assert (position.best_step, position.best_loss, position.least_loss, position.evals_without_improvement) == (1, 0.5, 0.5, 0)


def test_state_json_keeps_its_keys():
    state = TrainingState(step=4, evals_without_improvement=3)
    keys = ["step", "epoch", "step_in_epoch", "best_value", "best_step", "worse", "seconds", "best_loss", "least_loss"]
    assert list(state.to_json()) == keys and state.to_json()["worse"] == 3
    assert TrainingState.from_json({**state.to_json(), "micro": 8}) == state
    assert TrainingState.from_json({"step": 4, "worse": 3}) == state
