"""Several batches of one model at once, each on its share of the cores."""

import asyncio

import pytest

from hftool.server.batching import batcher as module
from hftool.server.batching.batcher import Unavailable
from hftool.workflow import _serve
from support.fake_predictor import FakeHead, FakePredictor, ask, opened, queued, serving, texts


@pytest.fixture
def shares(monkeypatch):
    """The cores of each batch, on a machine with six of them."""
    shares = []
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(module, "share_cores", shares.append)
    return shares


def test_a_second_batch_starts_while_the_first_is_computed(shares):
    async def scene():
        fake = FakePredictor()
        async with serving(fake, parallel=2) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            second = ask(batcher, "second")
            await fake.inside()
            third = ask(batcher, "third")
            await queued(batcher, 1)
            assert fake.batches == [["first"], ["second"]]
            fake.gate.set()
            assert [texts(await one) for one in (first, second, third)] == [["first"], ["second"], ["third"]]
        assert shares == [6, 3, 3] or shares == [6, 3, 6]  # alone, beside the first, and beside one that may have ended

    asyncio.run(scene())


def test_rows_that_a_batch_leaves_are_computed_beside_it(shares):
    async def scene():
        fake = FakePredictor(FakeHead(batch_tokens=4))
        async with serving(fake, parallel=2) as batcher:
            task = ask(batcher, "a b c d", "e f g h")  # of one request, tokenized together: one batch cannot have both
            await fake.inside()
            await fake.inside()
            assert sorted(fake.batches) == [["a b c d"], ["e f g h"]]
            fake.gate.set()
            assert texts(await task) == ["a b c d", "e f g h"]
        assert shares == [3, 3]

    asyncio.run(scene())


def test_a_single_batch_at_a_time_leaves_the_cores_alone(shares):
    async def scene():
        async with serving(opened()) as batcher:
            assert texts(await ask(batcher, "one")) == ["one"]
        assert shares == []

    asyncio.run(scene())


def test_all_workers_are_replaced_when_one_batch_hangs():
    async def scene():
        fake = FakePredictor()
        async with serving(fake, parallel=2, hang=0.3) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            with pytest.raises(Unavailable):
                await first
            fake.gate.set()
            await asyncio.wait_for(_ready(batcher), 10)
            assert texts(await ask(batcher, "second")) == ["second"] and batcher.waiting == 0

    asyncio.run(scene())


async def _ready(batcher):
    while not batcher.ready:
        await asyncio.sleep(0.01)


class Model:
    """What `make_predictor` is given; here also what it returns, with its engine."""

    def __init__(self, number_format, packs=True):
        self.engine, self.number_format, self.packs = self, number_format, packs


@pytest.mark.parametrize(
    ("formats", "expected"), [(["bf16"], 4), (["bf16", "bf16"], 4), (["fp32"], 1), (["bf16", "fp32"], 1), (["packs not"], 1)]
)
def test_encoders_in_bf16_have_several_batches(monkeypatch, formats, expected):
    monkeypatch.setattr(_serve, "make_predictor", lambda model, packed: model)
    monkeypatch.setattr(_serve.torch, "get_num_threads", lambda: 16)
    models = [Model("bf16", packs=False) if one == "packs not" else Model(one) for one in formats]
    assert _serve._parallel(models) == expected
