"""The queue without threads: leases, and that no row is lost."""

import asyncio
import threading
import time

import pytest

from hftool.heads.protocol import Feature
from hftool.server.batching.batcher import Unavailable
from hftool.server.batching.queue import PendingRequest, QueuedRow, RowQueue, WorkerLease, batch_key_of
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats
from support.fake_predictor import FakeHead, FakePredictor, ask, opened, serving, texts, until


class Scene:
    """A queue with requests of this many rows."""

    def __init__(self, loop, *sizes):
        self.stats = Stats()
        self.queue, kind = RowQueue(Limits(), self.stats), batch_key_of(opened(), None)
        now = time.monotonic()
        self.requests = [PendingRequest(loop, loop.create_future(), now + 60, [None] * rows, rows) for rows in sizes]
        for request in self.requests:
            rows = [QueuedRow(request, i, {"text": f"row {i}"}, kind, now) for i in range(request.unanswered)]
            self.queue.admit(rows)

    def read(self, lease, rows):
        """Tokenize rows of the lease."""
        head = FakeHead()
        self.queue.put_tokenized(lease, [(row, [Feature(one.input_ids, 0)]) for row in rows for one in head.encode([row.row])])

    def settle(self, lease):
        """Take and answer all rows, as a worker pair would -> number of rows that were answered."""
        count = 0
        while self.queue.size:
            if self.queue._untokenized:
                self.read(lease, self.queue.next_untokenized(lease))
            batch = self.queue.next_batch(lease)
            self.queue.deliver(lease, [(row, {"text": "answer"}) for row in batch])
            self.queue.finish_batch(lease, batch, 0.01)
            count += len(batch)
        return count


@pytest.mark.parametrize("requests", [(1,), (16,), (1, 1, 1), (8, 8), (300,), (1, 260, 1)])
@pytest.mark.parametrize("busy", [False, True])
def test_revoked_lease_takes_no_row(requests, busy):
    """A tokenizing thread whose pair was given up returns from its rows, and others wait."""

    async def scene():
        result = Scene(asyncio.get_running_loop(), *([3] if busy else []), *requests)
        old, unanswered = WorkerLease(), 0
        if busy:
            taken = result.queue.next_untokenized(old)
            unanswered = len({row.request for row in taken})
        result.queue.revoke(old, Unavailable("failed"))
        if busy:
            result.read(old, taken)  # comes too late
        before = result.queue.size
        assert result.queue.next_untokenized(old) == [] and result.queue.next_batch(old) == []
        assert result.queue.size == before == result.stats.value("hftool_queue_size")
        assert result.settle(WorkerLease()) == before
        await asyncio.sleep(0)
        ends = [request.future.exception() for request in result.requests if request.future.done()]
        assert len(ends) == len(result.requests)
        assert sum(end is None for end in ends) == len(result.requests) - unanswered
        assert result.queue.size == 0

    asyncio.run(scene())


def test_worker_failure_during_tokenization_loses_no_row():
    """The order is forced: one thread is inside of the tokenizer, requests wait, the other thread fails."""

    async def scene():
        entered, leave = threading.Event(), threading.Event()

        class Slow(FakeHead):
            def encode(self, rows):
                if any("slow to read" in row["text"] for row in rows):
                    entered.set()
                    leave.wait(10)
                return super().encode(rows)

        def react(batch):
            if "killer" in batch:
                raise SystemExit

        fake = FakePredictor(head=Slow(), reaction=react)
        async with serving(fake) as batcher:
            killer = ask(batcher, "killer")
            await fake.inside()
            slow = ask(batcher, "slow to read")
            await asyncio.to_thread(entered.wait, 10)
            waiting = [ask(batcher, f"good {i}") for i in range(16)]
            await until(lambda: batcher.waiting == 18)
            fake.gate.set()
            for task in (killer, slow):
                with pytest.raises(Unavailable):
                    await task
            leave.set()  # the old thread returns and finds rows in the queue
            assert [texts(await task) for task in waiting] == [[f"good {i}"] for i in range(16)]
            await until(lambda: batcher.ready)
            assert batcher.waiting == 0

    asyncio.run(scene())
