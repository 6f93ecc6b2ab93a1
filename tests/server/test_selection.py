"""Selection of the rows of a batch."""

import random

import pytest

from hftool.server.batching.selection import START_COST, select_batch


def within(tokens):
    return lambda longest, features: longest * features <= tokens


def test_rows_of_equal_length_share_a_batch_up_to_the_budget():
    assert sorted(select_batch([10, 12, 9, 11], [1] * 4, oldest=0, fits=within(48))) == [0, 1, 2, 3]


def test_oldest_row_is_selected_despite_its_length():
    assert select_batch([500, 10, 10, 10], [1] * 4, oldest=0, fits=within(4096)) == [0]  # three rows of 10 would become 1500
    assert sorted(select_batch([10, 500, 10, 10], [1] * 4, oldest=0, fits=within(4096))) == [0, 2, 3]


def test_row_over_the_budget_is_a_batch_of_its_own():
    assert select_batch([100, 99], [1, 1], oldest=0, fits=within(50)) == [0]
    assert select_batch([100, 3], [1, 1], oldest=1, fits=within(50)) == [1]


def test_windows_of_a_row_count_towards_the_budget():
    assert select_batch([10, 10, 10], [5, 5, 5], oldest=0, fits=within(100)) in ([0, 1], [1, 0], [0, 2], [2, 0])


@pytest.mark.parametrize("seed", range(40))
def test_selection_is_optimal_among_sorted_runs_with_the_oldest_row(seed):
    draws = random.Random(seed)
    count = draws.randint(1, 30)
    lengths = [draws.choice([draws.randint(1, 30), draws.randint(1, 512)]) for _ in range(count)]
    counts = [draws.choice([1, 1, 1, 3]) for _ in range(count)]
    oldest, fits = draws.randrange(count), within(draws.choice([64, 600, 4096]))
    order = sorted(range(count), key=lengths.__getitem__)

    def gain(positions):
        longest, number = max(lengths[i] for i in positions), sum(counts[i] for i in positions)
        return sum(lengths[i] * counts[i] for i in positions) / (START_COST + longest * number)

    chosen = select_batch(lengths, counts, oldest=oldest, fits=fits)
    runs = [order[a:b] for a in range(count) for b in range(a + 1, count + 1) if oldest in order[a:b]]
    allowed = [run for run in runs if fits(max(lengths[i] for i in run), sum(counts[i] for i in run))] or [[oldest]]
    assert oldest in chosen and len(set(chosen)) == len(chosen)
    assert chosen in allowed
    assert gain(chosen) == pytest.approx(max(map(gain, allowed)))
