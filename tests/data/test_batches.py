"""hftool/data/batches.py: every row exactly once, little padding, the same for the same seed."""

import random

import pytest

from hftool.data.batches import MAX_PADDED_FACTOR, budget_batches, split_step, step_batches

LENGTHS = random.Random(7).choices(range(1, 120), k=1003)


def padding(lengths, batches):
    """Share of a batch that is padding."""
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths) / padded


def test_every_row_occurs_once_and_only_the_last_step_is_short():
    steps = step_batches(LENGTHS, size=32, window=50, seed=0, epoch=0)
    assert sorted(i for step in steps for i in step) == list(range(1003))
    assert sorted(map(len, steps)) == [1003 % 32] + [32] * (1003 // 32)


def test_order_depends_on_seed_and_epoch():
    first = step_batches(LENGTHS, size=8, window=50, seed=3, epoch=1)
    assert first == step_batches(LENGTHS, size=8, window=50, seed=3, epoch=1)
    assert first != step_batches(LENGTHS, size=8, window=50, seed=3, epoch=2)
    assert first != step_batches(LENGTHS, size=8, window=50, seed=4, epoch=1)


def test_steps_have_rows_of_similar_length_in_random_order():
    steps = step_batches(LENGTHS, size=16, window=50, seed=0, epoch=0)
    assert padding(LENGTHS, steps) < 0.05
    longest = [max(LENGTHS[i] for i in step) for step in steps]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_window_of_one_step_shuffles_without_grouping_by_length():
    steps = step_batches(LENGTHS, size=32, window=1, seed=0, epoch=0)
    assert sorted(i for step in steps for i in step) == list(range(1003))
    near, far = (
        [max(LENGTHS[i] for i in step) - min(LENGTHS[i] for i in step) for step in step_batches(LENGTHS, size=32, **known)]
        for known in ({"window": 50, "seed": 0, "epoch": 0}, {"window": 1, "seed": 0, "epoch": 0})
    )
    assert max(near) < 15 and min(far) > 60  # lengths go from 1 to 119
    for step in steps:  # so that it splits into micro-batches of similar length
        assert [LENGTHS[i] for i in step] == sorted(LENGTHS[i] for i in step)


def test_micro_batches_start_with_the_longest_rows():
    assert split_step([1, 2, 3, 4, 5], size=2) == [[5], [3, 4], [1, 2]]


@pytest.mark.parametrize("tokens", [1, 64, 4096])
def test_inference_batches_respect_the_token_budget_and_hold_at_least_one_row(tokens):
    batches = budget_batches(LENGTHS, tokens=tokens, rows=10)
    assert sorted(i for batch in batches for i in batch) == list(range(1003))
    for batch in batches:
        assert len(batch) == 1 or max(LENGTHS[i] for i in batch) * len(batch) <= tokens
        assert len(batch) <= 10


def test_unpadded_batches_count_tokens_and_bound_the_padding():
    lengths = [5, 100, 7, 3, 90, 4, 6] * 20
    batches = budget_batches(lengths, tokens=200, packed=True)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert sum(lengths[i] for i in batch) <= 200
        assert max(lengths[i] for i in batch) * len(batch) <= MAX_PADDED_FACTOR * 200
    mixed = [100, 10, 10, 10, 10]
    assert budget_batches(mixed, tokens=200, packed=True) == [[0, 1, 2, 3, 4]] != budget_batches(mixed, tokens=200)
    assert budget_batches([500], tokens=200, packed=True) == [[0]]


def test_no_rows_give_no_batches():
    assert budget_batches([], tokens=10) == [] and step_batches([], size=4, window=50, seed=0, epoch=0) == []
