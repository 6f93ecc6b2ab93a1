"""The batcher with a fake predictor: tests force an order of events and do not sleep for it."""

import asyncio
import time

import pytest

from hftool.errors import UsageError
from hftool.heads.protocol import SamplingParams
from hftool.server.batching.batcher import CACHED_OPTIONS, Batcher, Expired, Overloaded
from hftool.server.batching.warmup import start_cost_of
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats
from support.fake_predictor import FakeHead, FakePredictor, ask, opened, queued, serving, texts, until, writer


def test_every_row_gets_its_own_answer_in_order():
    async def scene():
        async with serving(opened()) as batcher:
            queries = [[f"{'x ' * (i * k % 7)}{i} {k}" for k in range(1 + i % 5)] for i in range(60)]
            output = await asyncio.gather(*(ask(batcher, *rows) for rows in queries))
            assert [texts(one) for one in output] == queries
            assert batcher.waiting == 0
            assert await ask(batcher) == []

    asyncio.run(scene())


def test_rows_of_similar_length_share_a_batch_with_the_oldest():
    async def scene():
        fake = FakePredictor(FakeHead(batch_tokens=400))
        async with serving(fake) as batcher:
            first = ask(batcher, "first")
            await fake.inside()  # the worker is busy: what comes now is sorted
            long, short = " ".join(["long"] * 200), "short"
            rest = ask(batcher, short, long, short + " 2", long + " 2")
            await queued(batcher, 4)
            fake.gate.set()
            await asyncio.gather(first, rest)
            assert fake.batches == [["first"], [short, short + " 2"], [long], [long + " 2"]]  # 201 * 2 is more than 400

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        ({}, [[100] * 13, [300] * 3, [300] * 3]),  # half of 3,100 tokens; of 1,800 half, but 1,024 at least
        ({"batch_tokens": 400}, [[100] * 4, *[[300]] * 5, [300, 100], [100] * 4, [100] * 4]),
    ],
)
def test_packed_batches_are_half_of_the_queue_and_of_similar_length(limits, batches):
    async def scene():
        fake = FakePredictor(FakeHead(batch_tokens=4096), packs=True)
        async with serving(fake, **limits) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            rest = ask(batcher, *[" ".join(["x"] * words) for words in (100, *[300] * 6, *[100] * 12)])
            await queued(batcher, 19)
            fake.gate.set()
            await asyncio.gather(first, rest)
        assert [[len(text.split()) for text in batch] for batch in fake.batches[1:]] == batches

    asyncio.run(scene())


def test_start_cost_of_a_batch_is_measured():
    assert start_cost_of(0.010, 0.080) == 64  # 512 words take eight times as long as the start
    assert start_cost_of(0.001, 1.0) == 32  # never less
    assert start_cost_of(0.010, 0.0) == start_cost_of(0.010, -0.001) == 4096

    async def scene():
        slow = opened(reaction=lambda texts: time.sleep(0.01 + 0.01 * len(texts[0].split()) / 320))
        async with serving(slow) as batcher:
            assert batcher._start_cost > 128  # 511 words more take a tenth of what one takes

    asyncio.run(scene())


def test_single_row_is_not_delayed_for_batching():
    async def scene():
        fake = FakePredictor()
        async with serving(fake) as batcher:
            one = ask(batcher, "one")
            await fake.inside()
            assert fake.batches == [["one"]]
            fake.gate.set()
            await one

    asyncio.run(scene())


def test_row_over_the_token_budget_runs_alone():
    async def scene():
        fake = opened()
        async with serving(fake, batch_tokens=4) as batcher:
            assert fake.head.encoded[:2] == [["a"], ["a a a a a"]]  # the warm-up has done so once
            output = await ask(batcher, "1 2 3 4 5 6 7 8 9", "1", timeout=5)
            assert texts(output) == ["1 2 3 4 5 6 7 8 9", "1"]
            assert ["1 2 3 4 5 6 7 8 9"] in fake.batches

    asyncio.run(scene())


def test_only_equal_options_share_a_batch():
    async def scene():
        fakes = {k: FakePredictor() for k in (None, 1, 2)}
        for fake in fakes.values():
            object.__setattr__(fake, "batches", fakes[None].batches)
            object.__setattr__(fake, "gate", fakes[None].gate)
        async with serving(fakes[None], make=lambda options: fakes[options.get("top_k")]) as batcher:
            first = ask(batcher, "first")
            await fakes[None].inside()
            rest = [ask(batcher, f"{i}", options={"top_k": 1 + i % 2}) for i in range(4)]
            await queued(batcher, 4)
            fakes[None].gate.set()
            await asyncio.gather(first, *rest)
            assert [sorted(batch) for batch in fakes[None].batches] == [["first"], ["0", "2"], ["1", "3"]]

    asyncio.run(scene())


def test_explicit_defaults_share_a_batch_with_omitted_options():
    async def scene():
        def make(options):
            usual = {"max_new_tokens": 3} | options.get("sampling", {})
            output = opened(head=FakeHead(sampling=SamplingParams(**usual)), batches=batches)
            object.__setattr__(output, "gate", fake.gate)
            return output

        batches = []
        fake = FakePredictor()
        async with serving(fake, make=make) as batcher:
            first = ask(batcher, "first")
            await until(lambda: batches)
            rest = [
                ask(batcher, str(i), options=o)
                for i, o in enumerate([{}, {"sampling": {"max_new_tokens": 3}}, {"sampling": {}}])
            ]
            await queued(batcher, 3)
            fake.gate.set()
            await asyncio.gather(first, *rest)
            assert batches == [["first"], ["0", "1", "2"]]

    asyncio.run(scene())


def test_recently_used_options_stay_in_the_cache():
    created, fake = [], opened()

    def make(options):
        created.append(options)
        return fake

    batcher, row, hot = Batcher(make, Limits(), Stats()), {"text": "a"}, {"top_k": 1000}
    first = batcher._batch_key(hot, row)
    for i in range(300):
        batcher._batch_key({"top_k": i}, row)
        assert batcher._batch_key(hot, row) is first  # rows with another key would not share its batches
    assert created.count(hot) == 1
    assert len(batcher._predictors) == len(batcher._batch_keys) == CACHED_OPTIONS


def test_beams_and_samples_count_as_rows_of_the_budget():
    async def scene():
        fake = FakePredictor(FakeHead(SamplingParams(beams=4, max_new_tokens=1), batch_tokens=16))
        async with serving(fake) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            rest = ask(batcher, *(f"row {i}" for i in range(4)))  # two tokens, four beams: two rows are 16
            await queued(batcher, 4)
            fake.gate.set()
            await asyncio.gather(first, rest)
            assert [len(batch) for batch in fake.batches] == [1, 2, 2]

    asyncio.run(scene())


def test_contradicting_options_are_refused_before_queueing():
    async def scene():
        def make(options):
            return opened(head=FakeHead(sampling=SamplingParams(**options.get("sampling", {}))))

        async with serving(opened(), make=make) as batcher:
            with pytest.raises(UsageError, match="beam search and sampling exclude"):
                await ask(batcher, "x", options={"sampling": {"beams": 2, "temperature": 1.0}})
            assert batcher.waiting == 0

    asyncio.run(scene())


# ---- admission, deadlines, clients that have gone


def test_full_queue_refuses_at_once_without_tokenizing():
    async def scene():
        fake, stats = FakePredictor(), Stats()
        async with serving(fake, stats=stats, queue_items=3) as batcher:
            first = ask(batcher, "1")
            await fake.inside()
            rest = ask(batcher, "2", "3")
            await queued(batcher, 2)
            assert batcher.waiting == 3
            read = len(fake.head.encoded)
            began = time.monotonic()
            with pytest.raises(Overloaded) as refused:
                await ask(batcher, "4")
            assert time.monotonic() - began < 0.05
            assert 1 <= refused.value.retry_after <= 60
            assert len(fake.head.encoded) == read
            assert stats.value("hftool_rejected_total", reason="queue_full") == 1
            assert stats.value("hftool_queue_size") == 3
            fake.gate.set()
            assert texts(await first) + texts(await rest) == ["1", "2", "3"]
            assert texts(await ask(batcher, "4", "5", "6")) == ["4", "5", "6"]  # there is room for three again
            assert stats.value("hftool_queue_size") == batcher.waiting == 0

    asyncio.run(scene())


def test_rows_of_a_disconnected_client_leave_the_queue_uncomputed():
    async def scene():
        fake, stats = FakePredictor(), Stats()
        async with serving(fake, stats=stats, queue_items=3) as batcher:
            first = ask(batcher, "1")
            await fake.inside()
            left = ask(batcher, "left", "left too")
            await queued(batcher, 2)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            assert batcher.waiting == 1
            stayed = ask(batcher, "2", "3")
            fake.gate.set()
            await asyncio.gather(first, stayed)
            assert not any("left" in text for batch in fake.batches for text in batch)
            assert stats.value("hftool_dropped_total", reason="disconnected") == 2

    asyncio.run(scene())


def test_disconnect_during_computation_frees_the_queue():
    async def scene():
        fake = FakePredictor()
        async with serving(fake, queue_items=1) as batcher:
            one = ask(batcher, "1")
            await fake.inside()
            one.cancel()
            await asyncio.sleep(0)
            assert batcher.waiting == 1  # it is computed still
            fake.gate.set()
            await until(lambda: batcher.waiting == 0)
            assert texts(await ask(batcher, "2")) == ["2"]

    asyncio.run(scene())


def test_expired_rows_fail_at_once_and_are_not_computed():
    async def scene():
        fake, stats = FakePredictor(), Stats()
        async with serving(fake, stats=stats) as batcher:
            first = ask(batcher, "1")
            await fake.inside()
            began = time.monotonic()
            with pytest.raises(Expired, match="0.05 s"):
                await ask(batcher, "late", timeout=0.05)
            assert time.monotonic() - began < 1  # though the worker is busy
            fake.gate.set()
            await first
            await ask(batcher, "2")
            assert fake.batches == [["1"], ["2"]]
            assert stats.value("hftool_dropped_total", reason="deadline") == 1

    asyncio.run(scene())


def test_rows_that_expire_while_the_event_loop_is_busy_are_not_computed():
    async def scene():
        fake = FakePredictor()
        async with serving(fake) as batcher:
            first = ask(batcher, "1")
            await fake.inside()
            late = ask(batcher, "late", timeout=0.05)
            await queued(batcher, 1)
            time.sleep(0.06)
            fake.gate.set()
            time.sleep(0.1)
            await first
            with pytest.raises(Expired):
                await late
            assert fake.batches == [["1"]]

    asyncio.run(scene())


def test_generation_past_its_deadline_is_an_error():
    async def scene():
        async with serving(writer(pace=lambda step: time.sleep(0.001))) as batcher:
            for _ in range(10):  # the worker may see the end of the time before the event loop does
                with pytest.raises(Expired):
                    await ask(batcher, "x", timeout=0.01)

    asyncio.run(scene())


def test_generation_stops_within_two_tokens_of_a_disconnect_and_others_finish():
    async def scene():
        def pace(step):
            if step == 5 and len(fake.batches) == 2:
                leave()

        fake = FakePredictor(FakeHead(SamplingParams(max_new_tokens=20)), pace=pace)
        async with serving(fake) as batcher:
            streamed = []
            first = ask(batcher, "first")
            await fake.inside()
            left = ask(batcher, "left", on_token=lambda row, token: streamed.append(token))
            stayed = ask(batcher, "stayed")
            await queued(batcher, 2)
            loop = asyncio.get_running_loop()

            def leave():
                async def cancel():
                    left.cancel()

                asyncio.run_coroutine_threadsafe(cancel(), loop).result()
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result()

            fake.gate.set()
            await first
            assert texts(await stayed) == ["stayed 20"]
            assert 5 <= len(streamed) <= 7
            assert fake.steps[20:] == [2] * 6 + [1] * 14

    asyncio.run(scene())
