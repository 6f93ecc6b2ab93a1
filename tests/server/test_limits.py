"""Limits of the server."""

import dataclasses

import pytest

from hftool.errors import UsageError
from hftool.server.limits import Limits


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_invalid_limits_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        Limits(**{name: value})


def test_inputs_of_a_request_are_at_most_the_queue():
    assert Limits(queue_items=8).inputs == 8
    assert Limits(queue_items=8, inputs=4).inputs == 4


def test_limits_that_may_be_zero():
    assert (Limits(grace=0, stops=0).grace, Limits(batch_tokens=None).batch_tokens) == (0, None)
    with pytest.raises(UsageError):
        Limits(queue_items=0)
