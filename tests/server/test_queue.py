"""The queue without threads: leases, and that no row is lost."""

import asyncio
import threading
import time

import pytest

from hftool.heads.protocol import Feature
from hftool.server.batching.batcher import Unavailable
from hftool.server.batching.queue import MAX_CHARS, PendingRequest, QueuedRow, RowQueue, WorkerLease, batch_key_of
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats
from support.fake_predictor import FakeHead, FakePredictor, ask, opened, queued, serving, texts, until


class Scene:
    """A queue with requests of this many rows."""

    def __init__(self, loop, *sizes):
        self.loop, self.stats = loop, Stats()
        self.queue, self.key = RowQueue(Limits(), self.stats), batch_key_of(opened(), None)
        self.requests = [self.add(*[f"row {i}" for i in range(rows)]) for rows in sizes]

    def add(self, *texts, key=None):
        """Admit a request with these texts -> the request."""
        now = time.monotonic()
        request = PendingRequest(self.loop, self.loop.create_future(), now + 60, [None] * len(texts), len(texts))
        self.queue.admit([QueuedRow(request, i, {"text": text}, key or self.key, now) for i, text in enumerate(texts)])
        return request

    def read(self, lease, rows):
        """Tokenize rows of the lease."""
        head = FakeHead()
        self.queue.put_tokenized(lease, [(row, [Feature(one.input_ids, 0)]) for row in rows for one in head.encode([row.row])])

    def settle(self, lease):
        """Take and answer all rows, as a worker would -> number of rows that were answered."""
        return sum(number for job, number in self.jobs(lease) if job == "batch")

    def jobs(self, lease=None):
        """Do what a worker would until the queue is empty; yields the jobs: what it does, with how many rows."""
        lease = lease or WorkerLease()
        while self.queue.size:
            rows = self.queue.next_rows(lease)
            if rows[0].features:
                self.queue.deliver(lease, [(row, {"text": "answer"}) for row in rows])
                self.queue.finish_batch(lease, rows, 0.01)
                yield "batch", len(rows)
            else:
                self.read(lease, rows)
                yield "tokenize", len(rows)


@pytest.mark.parametrize("requests", [(1,), (16,), (1, 1, 1), (8, 8), (300,), (1, 260, 1)])
@pytest.mark.parametrize("busy", [False, True])
def test_revoked_lease_takes_no_row(requests, busy):
    """A worker that was given up returns from its rows, and others wait."""

    async def scene():
        result = Scene(asyncio.get_running_loop(), *([3] if busy else []), *requests)
        old, unanswered = WorkerLease(), 0
        if busy:
            taken = result.queue.next_rows(old)
            unanswered = len({row.request for row in taken})
        result.queue.revoke(old, Unavailable("failed"))
        if busy:
            result.read(old, taken)  # comes too late
        before = result.queue.size
        assert result.queue.next_rows(old) == []
        assert result.queue.size == before == result.stats.value("hftool_queue_size")
        assert result.settle(WorkerLease()) == before
        await asyncio.sleep(0)
        ends = [request.future.exception() for request in result.requests if request.future.done()]
        assert len(ends) == len(result.requests)
        assert sum(end is None for end in ends) == len(result.requests) - unanswered
        assert result.queue.size == 0

    asyncio.run(scene())


def jobs(*requests, keys=1):
    """What a worker does with requests of these texts, which take turns with this many keys."""

    async def scene():
        result = Scene(asyncio.get_running_loop())
        known = [batch_key_of(opened(), None) for _ in range(keys)]
        for number, request in enumerate(requests):
            result.add(*request, key=known[number % keys])
        return list(result.jobs())

    return asyncio.run(scene())


def test_tokenized_rows_that_fill_a_batch_are_computed_before_more_are_tokenized():
    full = ("batch", 16)  # of 64 tokens
    assert jobs(["a b c d"] * 300) == [("tokenize", 256), *[full] * 16, ("tokenize", 44), full, full, ("batch", 12)]


def test_tokenized_row_waits_for_a_bounded_number_of_characters():
    half = "x" * (MAX_CHARS // 2)
    assert jobs(["short", half, half, half]) == [("tokenize", 2), ("batch", 2)] * 2
    assert jobs(["short"], [half + half], keys=2) == [("tokenize", 1), ("batch", 1)] * 2


def test_rows_with_different_keys_are_tokenized_before_the_batch_of_the_first():
    assert jobs(["a"], ["b"], ["c"], ["d"], keys=2) == [*[("tokenize", 1)] * 4, ("batch", 2), ("batch", 2)]


def test_hang_during_tokenization_loses_no_row():
    """The order is forced: the worker is inside of the tokenizer, requests wait, and it is given up."""

    async def scene():
        entered, leave = threading.Event(), threading.Event()

        class Slow(FakeHead):
            def encode(self, rows):
                if any("slow to read" in row["text"] for row in rows):
                    entered.set()
                    leave.wait(10)
                return super().encode(rows)

        fake = opened(head=Slow())
        async with serving(fake, hang=0.1) as batcher:
            slow = ask(batcher, "slow to read")
            await asyncio.to_thread(entered.wait, 10)
            waiting = [ask(batcher, f"good {i}") for i in range(16)]
            await until(lambda: batcher.waiting == 17)
            with pytest.raises(Unavailable):
                await slow
            leave.set()  # the old thread returns and finds rows in the queue
            assert [texts(await task) for task in waiting] == [[f"good {i}"] for i in range(16)]
            assert not any("slow to read" in text for batch in fake.batches for text in batch)
            await until(lambda: batcher.ready)
            assert batcher.waiting == 0

    asyncio.run(scene())


def test_failure_during_tokenization_loses_no_row():
    async def scene():
        class Killer(FakeHead):
            def encode(self, rows):
                if any("killer" in row["text"] for row in rows):
                    raise SystemExit
                return super().encode(rows)

        fake = FakePredictor(head=Killer())
        async with serving(fake) as batcher:
            first = ask(batcher, "first")
            await fake.inside()
            killer, waiting = ask(batcher, "killer"), ask(batcher, "good", options={"x": 1})  # another key, so not in its lease
            await queued(batcher, 2)
            fake.gate.set()
            with pytest.raises(Unavailable):
                await killer
            assert texts(await first) + texts(await waiting) == ["first", "good"]

    asyncio.run(scene())
