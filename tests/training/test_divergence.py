"""Guards against NaN and infinite numbers."""

import pytest
import torch

from hftool.errors import RunStopped
from hftool.training.divergence import MAX_SKIPPED, FiniteGuard, all_finite


def test_only_bad_steps_in_a_row_stop_the_run():
    guard = FiniteGuard(lines=[2, 4, 6])
    for _ in range(3):
        for _ in range(MAX_SKIPPED - 1):
            assert guard.check(False, step=1, lr=0.1, rows=[0]) is False
        assert guard.check(True, step=1, lr=0.1, rows=[0]) is True
    assert guard.skipped == 3 * (MAX_SKIPPED - 1)
    for _ in range(MAX_SKIPPED - 1):
        guard.check(False, step=1, lr=0.1, rows=[0])
    with pytest.raises(RunStopped, match=r"at step 9 with learning rate 0.1 \(lines 2, 6 of train\)"):
        guard.check(False, step=9, lr=0.1, rows=[2, 0])


def test_many_rows_are_abbreviated():
    assert FiniteGuard().name(range(20)) == (
        "train rows 1, 2, 3, 4, 5, 6, 7, 8 and 12 more, counted from 1 without those left out"
    )


@pytest.mark.parametrize(("value", "fine"), [(1.0, True), (float("nan"), False), (float("inf"), False), (float("-inf"), False)])
def test_all_finite(value, fine):
    net = torch.nn.Linear(2, 2)
    with torch.no_grad():
        net.bias[1] = value
    assert all_finite(net) is fine
