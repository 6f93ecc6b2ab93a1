"""Failing rows, failing workers, drain and stop of the batcher, with a fake predictor."""

import asyncio
import time

import pytest

from hftool.errors import DataError, HftoolError
from hftool.heads.protocol import SamplingParams
from hftool.server.batching.batcher import Batcher, RowFailed, Unavailable
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats
from support.fake_predictor import FakeHead, FakePredictor, ask, opened, queued, serving, texts, until, writer

# ---- rows at fault


def test_row_that_cannot_be_encoded_fails_alone():
    async def scene():
        async with serving(opened()) as batcher:
            result = await ask(batcher, "1", "unreadable", "2", "odd", "3")
            assert [result[i]["text"] for i in (0, 2, 4)] == ["1", "2", "3"]
            assert isinstance(result[1], DataError)
            assert isinstance(result[3], RowFailed)
            others = await asyncio.gather(*(ask(batcher, text) for text in ("4", "unreadable", "5")))
            assert texts([others[0][0], others[2][0]]) == ["4", "5"]
            assert isinstance(others[1][0], DataError)

    asyncio.run(scene())


@pytest.mark.parametrize("error", [ValueError("of the text"), DataError("the model answers with NaN"), MemoryError()])
def test_row_that_raises_in_the_model_fails_alone(error):
    def react(batch):
        if any("poison" in text for text in batch):
            raise error

    async def scene():
        fake = FakePredictor(reaction=react)
        async with serving(fake) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            rest = ask(batcher, *(f"{i}" for i in range(5)), "poison", *(f"{i}" for i in range(6, 13)))
            await queued(batcher, 13)
            fake.gate.set()
            await first
            result = await rest
            assert isinstance(result.pop(6 - 1), RowFailed)
            assert texts(result) == [f"{i}" for i in range(13) if i != 5]
            assert batcher.ready
            assert "of the text" not in str((await ask(batcher, "poison"))[0])
            assert texts(await ask(batcher, "next")) == ["next"]

    asyncio.run(scene())


def test_batch_that_runs_out_of_memory_is_split():
    def react(batch):
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory")

    async def scene():
        fake = FakePredictor(reaction=react)
        async with serving(fake) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            rest = ask(batcher, *(f"{i}" for i in range(9)))
            await queued(batcher, 9)
            fake.gate.set()
            await first
            assert texts(await rest) == [f"{i}" for i in range(9)]

    asyncio.run(scene())


def test_tokens_are_streamed_once_when_a_batch_is_retried():
    state = {"failed": False}

    def pace(step):
        if step == 3 and not state["failed"]:
            state["failed"] = True
            raise ValueError

    async def scene():
        fake = opened(head=FakeHead(SamplingParams(max_new_tokens=6)), pace=pace)
        async with serving(fake) as batcher:
            reported = []
            await ask(batcher, "1", "2", on_token=lambda row, token: reported.append((row, token)))
            for row in (0, 1):
                assert [token for one, token in reported if one == row] == list(range(6))

    asyncio.run(scene())


def test_on_tokenized_reports_the_length_of_each_row():
    async def scene():
        async with serving(opened()) as batcher:
            reported = []
            await ask(batcher, "1 2 3", "unreadable", "1", on_tokenized=lambda row, tokens: reported.append((row, tokens)))
            assert reported == [(0, 3), (2, 1)]

    asyncio.run(scene())


# ---- workers that fall


def test_dead_worker_is_replaced_and_queued_rows_are_answered():
    async def scene():
        def react(batch):
            if "killer" in batch:
                raise SystemExit

        fake = FakePredictor(reaction=react)
        async with serving(fake) as batcher:
            killer = ask(batcher, "killer", "killer's brother " * 20)
            await fake.inside()
            waiting = ask(batcher, "patient")
            await queued(batcher, 2)
            began = time.monotonic()
            fake.gate.set()
            with pytest.raises(Unavailable):
                await killer
            assert time.monotonic() - began < 1
            assert not batcher.ready
            with pytest.raises(Unavailable):
                await ask(batcher, "too soon")
            assert texts(await waiting) == ["patient"]
            await until(lambda: batcher.ready)
            assert batcher.fatal is None
            assert batcher.waiting == 0

    asyncio.run(scene())


def test_third_failure_is_fatal():
    async def scene():
        def react(batch):
            if "killer" in batch:
                raise SystemExit

        fake = opened(reaction=react)
        async with serving(fake) as batcher:
            ends = []
            batcher.on_fatal = ends.append
            for _ in range(3):
                await until(lambda: batcher.ready)
                with pytest.raises(Unavailable):
                    await ask(batcher, "killer")
            await until(lambda: ends)
            assert "failed 3 times" in batcher.fatal and ends == [batcher.fatal]
            assert batcher.fatal_class is HftoolError
            await asyncio.sleep(0.6)  # longer than the next pause would be
            assert not batcher.ready
            with pytest.raises(Unavailable, match="failed 3 times"):
                await ask(batcher, "x")

    asyncio.run(scene())


def test_three_failures_over_a_long_time_are_not_fatal(monkeypatch):
    async def scene():
        def react(batch):
            if "killer" in batch:
                raise SystemExit

        monkeypatch.setattr("hftool.server.batching.batcher.FAILURE_WINDOW", 0.05)
        async with serving(opened(reaction=react)) as batcher:
            for _ in range(3):
                await until(lambda: batcher.ready)
                with pytest.raises(Unavailable):
                    await ask(batcher, "killer")
            await until(lambda: batcher.ready)
            assert batcher.fatal is None

    asyncio.run(scene())


def test_hanging_worker_is_replaced_and_its_late_answer_is_dropped():
    async def scene():
        fake, stats = FakePredictor(), Stats()
        async with serving(fake, stats=stats, hang=0.2) as batcher:
            with pytest.raises(Unavailable):
                await ask(batcher, "hangs")
            assert not batcher.ready
            await until(lambda: batcher.ready)
            fake.gate.set()  # the old worker comes back
            assert texts(await ask(batcher, "next")) == ["next"]
            assert batcher.waiting == stats.value("hftool_queue_size") == 0
            assert stats.value("hftool_dropped_total", reason="worker") == 1

    asyncio.run(scene())


def test_third_hang_is_fatal_however_long_each_takes(monkeypatch):
    async def scene():
        monkeypatch.setattr("hftool.server.batching.batcher.FAILURE_WINDOW", 0.6)
        fake = FakePredictor()
        async with serving(fake, hang=0.3) as batcher:
            for _ in range(3):
                await until(lambda: batcher.ready)
                with pytest.raises(Unavailable):
                    await ask(batcher, "hangs")
            assert batcher.fatal is not None

    asyncio.run(scene())


def test_long_generation_is_not_a_hang():
    async def scene():
        fake = opened(head=FakeHead(SamplingParams(max_new_tokens=60)), pace=lambda step: time.sleep(0.01))
        async with serving(fake, hang=0.3) as batcher:
            assert texts(await ask(batcher, "x")) == ["x 60"]
            assert batcher.fatal is None and not batcher._failures

    asyncio.run(scene())


def test_model_that_fails_its_warm_up_is_fatal_with_the_reason():
    def react(batch):
        raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")

    async def scene():
        batcher = Batcher(lambda options: opened(reaction=react), Limits(), Stats(), name="bad one")
        ready = []
        batcher.on_fatal = lambda why: ready.append(why)
        batcher.start()
        await until(lambda: ready)
        assert "NaN" in batcher.fatal and not batcher.ready
        assert "model 'bad one'" in batcher.fatal and batcher.fatal_class is DataError
        assert batcher.stop()

    asyncio.run(scene())


def test_model_that_fails_on_its_longest_text_serves_shorter_ones(caplog):
    def react(batch):
        if any(len(text) > 60 for text in batch):
            raise MemoryError

    async def scene():
        async with serving(opened(reaction=react)) as batcher:
            assert texts(await ask(batcher, "short")) == ["short"]
        assert "65 words" in caplog.text

    asyncio.run(scene())


# ---- the end


def test_drain_answers_requests_in_flight_and_refuses_new_ones():
    async def scene():
        fake = FakePredictor()
        async with serving(fake) as batcher:
            first = ask(batcher, "1")
            await fake.inside()
            second = ask(batcher, "2")
            await queued(batcher, 1)
            assert not await batcher.drain(0.02)
            assert not batcher.ready
            with pytest.raises(Unavailable, match="stop"):
                await ask(batcher, "3")
            drained = asyncio.create_task(batcher.drain(10))
            fake.gate.set()
            assert await drained
            assert texts(await first) + texts(await second) == ["1", "2"]

    asyncio.run(scene())


def test_stop_refuses_queued_rows_and_ends_the_threads():
    async def scene():
        fake = writer(pace=lambda step: time.sleep(0.005))
        async with serving(fake) as batcher:
            one = ask(batcher, "1")
            await fake.inside()
            other = ask(batcher, "unlike", options={"x": 1})
            await until(lambda: batcher.waiting == 2)
            assert batcher.stop()
            for task in (one, other):
                with pytest.raises(Unavailable):
                    await task

    asyncio.run(scene())


def test_stop_reports_a_thread_that_is_still_in_a_batch(monkeypatch):
    async def scene():
        monkeypatch.setattr("hftool.server.batching.batcher.STOP_WAIT", 0.05)
        fake = FakePredictor()
        async with serving(fake) as batcher:
            one = ask(batcher, "1")
            await fake.inside()
            assert not batcher.stop()
            with pytest.raises(Unavailable):
                await one

    asyncio.run(scene())


def test_metrics_of_batches_and_the_queue():
    async def scene():
        fake, stats = FakePredictor(), Stats()
        async with serving(fake, stats=stats) as batcher:
            first = ask(batcher, "1 2 3")
            await fake.inside()
            rest = ask(batcher, "1", "1 2 3 4")
            await queued(batcher, 2)
            fake.gate.set()
            await asyncio.gather(first, rest)
        assert stats.count("hftool_queue_duration_seconds") == 3
        assert (stats.count("hftool_batch_items"), stats.value("hftool_batch_items")) == (2, 3)
        assert stats.value("hftool_batch_tokens") == 3 + 8
        assert stats.value("hftool_padding_ratio") == pytest.approx(0 + 3 / 8)

    asyncio.run(scene())
