"""Dynamic batching: rows of many requests are queued and computed together by one model.

A request is admitted or refused at once by its number of rows. A worker, which is one thread, tokenizes admitted rows and
computes them batch after batch, without a pause while rows wait. Batching changes the speed, not the answers. A second thread
supervises the worker, and replaces it when it fails or hangs.
"""

import asyncio
import functools
import json
import logging
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer
from hftool.inference.predictor import Predictor
from hftool.server.batching.errors import Expired, Overloaded, RowError, RowFailed, Unavailable
from hftool.server.batching.execution import features_of, run_batch
from hftool.server.batching.queue import (
    BatchKey,
    OnToken,
    OnTokenized,
    PendingRequest,
    QueuedRow,
    RowQueue,
    WorkerLease,
    batch_key_of,
    call,
    expired,
)
from hftool.server.batching.selection import START_COST
from hftool.server.batching.warmup import measure_start_cost, time_batch
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats

__all__ = ["Batcher", "Expired", "OnToken", "OnTokenized", "Overloaded", "RowError", "RowFailed", "Unavailable"]

LOG = logging.getLogger(__name__)

CACHED_OPTIONS = 256  # sets of options whose predictors are kept; the least recently used is dropped first
FAILURES, FAILURE_WINDOW = 3, 60.0  # after this many failures of the worker within this many seconds the model is given up
FIRST_PAUSE = 0.1  # s before the first restart; doubled before each further one
TICK = 0.1  # s between two checks of the worker
DRAIN_TICK = 0.01  # s
STOP_WAIT = 2.0  # s for a running batch to end


@dataclass(eq=False)
class Worker:
    """The thread that tokenizes and computes, and its lease. warm: whether the warm-up is over."""

    lease: WorkerLease = field(default_factory=WorkerLease)
    thread: threading.Thread = field(init=False)
    warm: bool = False


class Batcher:
    """Answers the rows of any number of requests with one model."""

    def __init__(self, make: Callable[[Mapping[str, Any]], Predictor], limits: Limits, stats: Stats, *, name: str = "") -> None:
        """Create a batcher; `start` starts it.

        Args:
            make: Creates a predictor from the options of a head, "sampling" among them. Nothing else may encode with its
                tokenizer while the batcher lives, since the tokenizers library keeps the truncation in the tokenizer.
            limits: Of the queue and of a batch.
            stats: The metrics to update.
            name: Of the model, for the log.
        """
        self._make, self._limits, self._stats = make, limits, stats
        self._queue = RowQueue(limits, stats)
        self._predictors: OrderedDict[str, tuple[str, Predictor]] = OrderedDict()
        self._batch_keys: OrderedDict[tuple[str, ...], BatchKey] = OrderedDict()
        self._lock = threading.Lock()  # of what follows
        self._worker: Worker | None = None
        self._failures: deque[float] = deque()
        self._hang_seconds = 0.0  # do not count as time between two failures
        self._restart_at = 0.0
        self._draining = False
        self._stopping = threading.Event()
        self._start_cost = START_COST
        self._label = f"model '{name}'" if name else "the model"
        self.fatal: str | None = None  # why the model is given up for good
        self.fatal_class: type[HftoolError] = HftoolError  # of that error
        self.on_fatal: Callable[[str], None] | None = None  # called with the reason, in a thread of the batcher

    def start(self) -> None:
        """Start the threads and return. The model is ready after the warm-up, with a short and a very long row."""
        self._start_worker()
        threading.Thread(target=self._supervise, daemon=True, name="hftool-supervise").start()

    @property
    def ready(self) -> bool:
        """Whether a request would be admitted now, if it fits into the queue."""
        worker = self._worker
        is_up = worker is not None and worker.warm and not worker.lease.revoked
        return is_up and not self._draining and not self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Number of rows that are queued or being computed."""
        return self._queue.size

    async def submit(
        self,
        rows: Sequence[Row],
        *,
        options: Mapping[str, Any],
        timeout: float,
        on_token: OnToken | None = None,
        on_tokenized: OnTokenized | None = None,
    ) -> list[Answer | RowError]:
        """Answer rows. If the task is cancelled, its waiting rows leave the queue, and generation ends at the next token.

        Args:
            rows: The rows of one request.
            options: Of the head, as `make` takes them.
            timeout: Seconds until the deadline.
            on_token: Called in the event loop with (index of the row, token id) for each generated token; needs one text for
                each row and no beams.
            on_tokenized: Called in the event loop with (index of the row, its number of tokens).

        Returns:
            The answer of each row, or its error.

        Raises:
            Overloaded: The queue is full.
            Unavailable: The model is not ready.
            Expired: The deadline has passed.
            UsageError: Invalid options.
        """
        if not self.ready:
            raise Unavailable(self._why_not())
        if not rows:
            return []
        loop, now = asyncio.get_running_loop(), time.monotonic()
        answers: list[Any] = [None] * len(rows)
        request = PendingRequest(loop, loop.create_future(), now + timeout, answers, len(rows), on_token, on_tokenized)
        self._queue.admit([QueuedRow(request, i, row, self._batch_key(options, row), now) for i, row in enumerate(rows)])
        timer = loop.call_later(timeout, self._expire, request, timeout)
        try:
            return await request.future
        except asyncio.CancelledError:
            self._queue.cancel(request, "disconnected")
            raise
        finally:
            timer.cancel()

    def _expire(self, request: PendingRequest, timeout: float) -> None:
        if not request.future.done():
            request.future.set_exception(expired(timeout))
            self._queue.cancel(request, "deadline")

    def _why_not(self) -> str:
        if self.fatal:
            return self.fatal
        if self._draining or self._stopping.is_set():
            return "the server is about to stop"
        return "the model does not answer yet"

    async def drain(self, seconds: float) -> bool:
        """Refuse new requests, and wait up to this many seconds for those in flight.

        Returns:
            Whether all of them were answered.
        """
        self._draining = True
        until = time.monotonic() + seconds
        while self.waiting and time.monotonic() < until:
            await asyncio.sleep(DRAIN_TICK)
        return not self.waiting

    def stop(self) -> bool:
        """Stop the worker; requests in flight fail with Unavailable.

        Returns:
            Whether its thread has ended. If it is still inside a long batch, the process must end by os._exit: a normal exit
            would abort.
        """
        self._stopping.set()
        with self._lock:
            worker = self._worker
            if worker is not None:
                self._queue.revoke(worker.lease, Unavailable("the server stops"))
        self._queue.fail_all(Unavailable("the server stops"))
        if worker is not None and worker.thread is not threading.current_thread():
            worker.thread.join(STOP_WAIT)
        return worker is None or not worker.thread.is_alive()

    # ---- options

    def _batch_key(self, options: Mapping[str, Any], row: Row) -> BatchKey:
        """The key that this row has in common with the rows of its batch. Raises UsageError."""
        name, predictor = self._predictor(options)
        columns = (name, *sorted(row))
        key = self._batch_keys.get(columns)
        if key is None:
            key = self._batch_keys[columns] = batch_key_of(predictor, self._limits.batch_tokens, self._start_cost)
            if len(self._batch_keys) > CACHED_OPTIONS:
                self._batch_keys.popitem(last=False)
        self._batch_keys.move_to_end(columns)
        return key

    def _predictor(self, options: Mapping[str, Any]) -> tuple[str, Predictor]:
        """A predictor, and a name that is equal for equal answers: a default is the same if it is given explicitly."""
        key = json.dumps(options, sort_keys=True, default=repr) if options else ""
        if key in self._predictors:
            self._predictors.move_to_end(key)
            return self._predictors[key]
        predictor = self._make(options)
        sampling = predictor.head.sampling
        if sampling is not None:
            sampling.check()
        rest = {name: value for name, value in options.items() if name != "sampling"}
        named = f"{json.dumps(rest, sort_keys=True, default=repr)} {sampling}", predictor
        self._predictors[key] = named
        if len(self._predictors) > CACHED_OPTIONS:
            self._predictors.popitem(last=False)
        return named

    # ---- the worker

    def _start_worker(self) -> None:
        worker = Worker()
        worker.thread = threading.Thread(target=self._run, args=(worker,), daemon=True, name="hftool-worker")
        self._worker = worker
        worker.thread.start()

    def _run(self, worker: Worker) -> None:
        try:
            self._warm_up(worker)
            while rows := self._queue.next_rows(worker.lease):
                if rows[0].features:
                    self._compute_batch(worker.lease, rows)
                else:
                    features = features_of(rows[0].key.predictor.head, [row.row for row in rows])
                    self._queue.put_tokenized(worker.lease, zip(rows, features, strict=True))
        except BaseException as error:  # the thread ends with any of them
            known = type(error) if isinstance(error, HftoolError) else HftoolError
            self._on_failure(worker, _reason(error), kind=error.error_class if isinstance(error, RowFailed) else known)

    def _compute_batch(self, lease: WorkerLease, batch: Sequence[QueuedRow]) -> None:
        started = time.monotonic()
        features = sum(len(row.features) for row in batch)
        real = sum(feature.length for row in batch for feature in row.features)
        padded = real if batch[0].key.unpadded else max(row.length for row in batch) * features
        self._stats.observe("hftool_queue_duration_seconds", *(started - row.admitted for row in batch))
        self._stats.observe("hftool_batch_items", len(batch))
        self._stats.observe("hftool_batch_tokens", padded)
        self._stats.observe("hftool_padding_ratio", 1 - real / padded if padded else 0.0)
        on_token = functools.partial(_send_token, lease)
        for answers in run_batch(batch, is_cancelled=lease.is_cancelled, on_token=on_token):
            self._queue.deliver(lease, answers)
        self._queue.finish_batch(lease, batch, time.monotonic() - started)

    def _warm_up(self, worker: Worker) -> None:
        """Compute a short row and one longer than the token budget, and measure the start cost of a batch.

        Raises:
            RowFailed: The model fails on the short row.
        """
        head = self._make({}).head
        options = {"sampling": {"max_new_tokens": 2}} if head.sampling is not None else {}
        key = batch_key_of(self._make(options), self._limits.batch_tokens)
        for words in (1, min(key.batch_tokens + 1, self._limits.text_chars // 2)):
            _, failed = time_batch(worker.lease, key, words=words)
            if failed and words == 1:
                raise failed
            if failed:
                LOG.warning("%s fails on a text of %d words: %s", self._label, words, failed)
        if head.sampling is None:
            self._start_cost = measure_start_cost(worker.lease, key)
        worker.warm = True

    def _supervise(self) -> None:
        """Replace a worker that hangs, has ended or has failed."""
        hang = self._limits.hang
        while not self._stopping.wait(min(TICK, hang / 4)):
            now, worker = time.monotonic(), self._worker
            if self.fatal or worker is None:
                return
            since = worker.lease.since
            if worker.lease.revoked:
                if now >= self._restart_at:
                    self._start_worker()
            elif since is not None and now - since > hang:
                self._on_failure(worker, f"no progress for {hang:g} s", hang_seconds=hang)
            elif not worker.thread.is_alive():
                self._on_failure(worker, "its thread ended")

    def _on_failure(
        self, worker: Worker, reason: str, hang_seconds: float = 0.0, kind: type[HftoolError] = HftoolError
    ) -> None:
        """Give up a worker: the rows of its lease fail with Unavailable, the queue is left to the next worker."""
        with self._lock:
            if worker.lease.revoked or self._stopping.is_set():
                return
            self._hang_seconds += hang_seconds
            now = time.monotonic()
            self._failures.append(now - self._hang_seconds)
            while self._failures[0] < self._failures[-1] - FAILURE_WINDOW:
                self._failures.popleft()
            count = len(self._failures)
            self._restart_at = now + FIRST_PAUSE * 2 ** (count - 1)
            if count >= FAILURES:
                self.fatal_class = kind
                self.fatal = (
                    f"the worker of {self._label} failed {count} times within {FAILURE_WINDOW:g} s, the last time: {reason}"
                )
            self._queue.revoke(worker.lease, Unavailable("the model's worker failed and is restarted"))
        LOG.error("the worker of %s failed: %s", self._label, reason)
        if self.fatal:
            self._queue.fail_all(Unavailable(self.fatal))
            if self.on_fatal is not None:
                self.on_fatal(self.fatal)


def _send_token(lease: WorkerLease, row: QueuedRow, token: int) -> None:
    request = row.request
    if request.on_token is not None and not lease.revoked and not request.is_cancelled:
        call(request.loop, request.on_token, row.index, token)


def _reason(error: BaseException) -> str:
    """Why a thread ended. Unknown exceptions are named by class and line: their message may quote a text."""
    if isinstance(error, RowFailed | HftoolError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
