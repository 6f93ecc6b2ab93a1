"""Matrices of cases: a sample that has each value at least once, and the other cases for `make soak`."""

import itertools

import pytest


def each_value(*axes):
    """Every combination of the axes as a pytest.param, all but a sample marked `slow`.

    The sample is as long as the longest axis: its i-th case has the i-th value of each axis, which begin anew at their end.
    """
    axes = [list(axis) for axis in axes]
    sample = {tuple(i % len(axis) for axis in axes) for i in range(max(map(len, axes)))}
    return [
        pytest.param(*(axis[i] for axis, i in zip(axes, at, strict=True)), marks=() if at in sample else pytest.mark.slow)
        for at in itertools.product(*(range(len(axis)) for axis in axes))
    ]
