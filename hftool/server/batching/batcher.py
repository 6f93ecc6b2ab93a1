"""Dynamic batching: rows of many requests are queued and computed together by one model.

A request is admitted or refused at once by its number of rows. One thread tokenizes admitted rows, a second one computes them
batch after batch, without a pause while rows wait. Batching changes the speed, not the answers. A third thread supervises the
two: when one fails or hangs, both are replaced.
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

import torch

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer
from hftool.inference.predictor import Predictor
from hftool.machine import share_cores
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
FAILURES, FAILURE_WINDOW = 3, 60.0  # after this many failures of the workers within this many seconds the model is given up
FIRST_PAUSE = 0.1  # s before the first restart; doubled before each further one
TICK = 0.1  # s between two checks of the threads
DRAIN_TICK = 0.01  # s
STOP_WAIT = 2.0  # s for a running batch to end


@dataclass(eq=False)
class WorkerPair:
    """The tokenizing thread and the computing ones, with their leases. warm: set after the warm-up.

    What a thread that only tokenizes is worth: tokenizing in benchmarks/serve_tricks.py.
    """

    tokenizing: WorkerLease = field(default_factory=WorkerLease)
    computing: Sequence[WorkerLease] = ()
    threads: tuple[threading.Thread, ...] = ()
    warm: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False


class Batcher:
    """Answers the rows of any number of requests with one model."""

    def __init__(
        self, make: Callable[[Mapping[str, Any]], Predictor], limits: Limits, stats: Stats, *, name: str = "", parallel: int = 1
    ) -> None:
        """Create a batcher; `start` starts it.

        Args:
            make: Creates a predictor from the options of a head, "sampling" among them. Nothing else may encode with its
                tokenizer while the batcher lives, since the tokenizers library keeps the truncation in the tokenizer.
            limits: Of the queue and of a batch.
            stats: The metrics to update.
            name: Of the model, for the log.
            parallel: Number of batches that may be computed at once, each on its share of the cores; a batch while no other row
                is queued has all of them. What it is worth: parallel in benchmarks/serve_tricks.py.
        """
        self._make, self._limits, self._stats = make, limits, stats
        self._queue = RowQueue(limits, stats, parallel)
        self._parallel, self._cores = parallel, torch.get_num_threads()
        self._predictors: OrderedDict[str, tuple[str, Predictor]] = OrderedDict()
        self._batch_keys: OrderedDict[tuple[str, ...], BatchKey] = OrderedDict()
        self._lock = threading.Lock()  # of what follows
        self._workers: WorkerPair | None = None
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
        self._start_workers()
        threading.Thread(target=self._supervise, daemon=True, name="hftool-supervise").start()

    @property
    def ready(self) -> bool:
        """Whether a request would be admitted now, if it fits into the queue."""
        pair = self._workers
        return bool(pair and pair.warm.is_set() and not pair.abandoned) and not self._draining and not self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Number of rows that are queued or being computed."""
        return self._queue.size

    @property
    def retry_after(self) -> int:
        """Whole seconds until the rows of the queue are likely to be answered."""
        return self._queue.retry_after

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
        """Stop the threads; requests in flight fail with Unavailable.

        Returns:
            Whether the threads have ended. If one is still inside a long batch, the process must end by os._exit: a normal
            exit would abort.
        """
        self._stopping.set()
        with self._lock:
            pair = self._workers
            if pair is not None:
                self._abandon_workers(pair, Unavailable("the server stops"))
        self._queue.fail_all(Unavailable("the server stops"))
        threads = pair.threads if pair else ()
        until = time.monotonic() + STOP_WAIT
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

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

    # ---- the threads

    def _start_workers(self) -> None:
        pair = WorkerPair(computing=[WorkerLease() for _ in range(self._parallel)])
        jobs = [("hftool-tokenize", self._tokenize)]
        jobs += [("hftool-compute", functools.partial(self._compute, lease=lease)) for lease in pair.computing]
        pair.threads = tuple(threading.Thread(target=self._run, args=(pair, job), daemon=True, name=name) for name, job in jobs)
        self._workers = pair
        for thread in pair.threads:
            thread.start()

    def _run(self, pair: WorkerPair, job: Callable[[WorkerPair], None]) -> None:
        try:
            job(pair)
        except BaseException as error:  # the thread ends with any of them
            known = type(error) if isinstance(error, HftoolError) else HftoolError
            self._on_failure(pair, _reason(error), kind=error.error_class if isinstance(error, RowFailed) else known)

    def _tokenize(self, pair: WorkerPair) -> None:
        pair.warm.wait()  # the warm-up uses the tokenizer in the other thread
        while rows := self._queue.next_untokenized(pair.tokenizing):
            features = features_of(rows[0].key.predictor.head, [row.row for row in rows])
            self._queue.put_tokenized(pair.tokenizing, zip(rows, features, strict=True))

    def _compute(self, pair: WorkerPair, lease: WorkerLease) -> None:
        if lease is pair.computing[0]:
            self._warm_up(pair)
        pair.warm.wait()
        while batch := self._queue.next_batch(lease):
            if self._parallel > 1:
                is_alone = self._queue.size == len(batch)
                share_cores(self._cores if is_alone else max(1, self._cores // self._parallel))
            self._compute_batch(lease, batch)

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

    def _warm_up(self, pair: WorkerPair) -> None:
        """Compute a short row and one longer than the token budget, and measure the start cost of a batch.

        Raises:
            RowFailed: The model fails on the short row.
        """
        head = self._make({}).head
        options = {"sampling": {"max_new_tokens": 2}} if head.sampling is not None else {}
        key = batch_key_of(self._make(options), self._limits.batch_tokens)
        for words in (1, min(key.batch_tokens + 1, self._limits.text_chars // 2)):
            _, failed = time_batch(pair.computing[0], key, words=words)
            if failed and words == 1:
                raise failed
            if failed:
                LOG.warning("%s fails on a text of %d words: %s", self._label, words, failed)
        if head.sampling is None:
            self._start_cost = measure_start_cost(pair.computing[0], key)
        pair.warm.set()

    def _supervise(self) -> None:
        """Replace workers that hang, have ended or have failed."""
        hang = self._limits.hang
        while not self._stopping.wait(min(TICK, hang / 4)):
            now, pair = time.monotonic(), self._workers
            if self.fatal or pair is None:
                return
            if pair.abandoned:
                if now >= self._restart_at:
                    self._start_workers()
                continue
            for lease, thread in zip((pair.tokenizing, *pair.computing), pair.threads, strict=True):
                since = lease.since
                if since is not None and now - since > hang:
                    self._on_failure(pair, f"no progress for {hang:g} s", hang_seconds=hang)
                elif not thread.is_alive():
                    self._on_failure(pair, f"the thread {thread.name} ended")

    def _on_failure(
        self, pair: WorkerPair, reason: str, hang_seconds: float = 0.0, kind: type[HftoolError] = HftoolError
    ) -> None:
        """Give up a worker pair: the rows of its leases fail with Unavailable, the queue is left to the next pair."""
        with self._lock:
            if pair.abandoned or self._stopping.is_set():
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
            self._abandon_workers(pair, Unavailable("the model's worker failed and is restarted"))
        LOG.error("the worker of %s failed: %s", self._label, reason)
        if self.fatal:
            self._queue.fail_all(Unavailable(self.fatal))
            if self.on_fatal is not None:
                self.on_fatal(self.fatal)

    def _abandon_workers(self, pair: WorkerPair, error: Exception) -> None:
        pair.abandoned = True
        for lease in (*pair.computing, pair.tokenizing):
            self._queue.revoke(lease, error)
        pair.warm.set()  # wakes a tokenizing thread that waits for the warm-up; it finds its lease revoked


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
