"""hftool/inference/diverse_rows.py: uncertain rows that differ from each other."""

import math

import numpy as np
import pytest

from hftool.inference import diverse_rows
from hftool.inference.diverse_rows import Candidate, Candidates, uncertainty_of


def candidates(points, count, uncertainties=None):
    given = uncertainties or [0.4] * len(points)
    pool = Candidates(count)
    for i, (point, uncertainty) in enumerate(zip(points, given, strict=True)):
        pool.add([Candidate(i, uncertainty, np.array(point, np.float32))])  # one at a time, as from a long file
    return pool


def test_uncertainty_is_the_probability_of_the_second_choice():
    assert uncertainty_of(0.0) == 0.5 and uncertainty_of(math.inf) == pytest.approx(0.0, abs=1e-300)
    assert uncertainty_of(math.log(0.7 / 0.3)) == pytest.approx(0.3)


def test_rows_of_every_cluster_are_chosen_and_the_least_certain_first():
    chance = np.random.default_rng(1)
    points = [[10.0 * (i % 5) + chance.normal(0, 0.01), chance.normal(0, 0.01)] for i in range(50)]
    pool = candidates(points, 5, [0.3] * 49 + [0.31])
    chosen = [candidate.row for candidate in pool.choose()]
    assert chosen[0] == 49 and {i % 5 for i in chosen} == set(range(5))
    assert [candidate.row for candidate in pool.choose()] == chosen
    assert pool.rows == 50 and pool.total == pytest.approx(0.3 * 49 + 0.31)


def test_certain_rows_are_no_candidates_and_few_are_in_memory(monkeypatch):
    points = [[float(i)] for i in range(100)]
    pool = candidates(points, 2, [0.4 if i % 5 == 0 else 0.0 for i in range(100)])
    assert [candidate.row for candidate in pool.best] == list(range(0, 100, 5))  # ten times as many as are wanted
    assert all(candidate.row % 5 == 0 for candidate in pool.choose())
    monkeypatch.setattr(diverse_rows, "MAX_CANDIDATES", 3)
    assert len(candidates(points, 2).best) == 3 and len(candidates(points, 7).best) == 7


def test_a_small_pool_and_copies_are_chosen_whole():
    assert candidates([[1.0]] * 3, 5).choose()[0].row == 0
    assert {candidate.row for candidate in candidates([[1.0]] * 3, 5).choose()} == {0, 1, 2}
    assert candidates([], 5).choose() == []
