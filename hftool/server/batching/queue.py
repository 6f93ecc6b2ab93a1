"""The queue: requests and their rows from admission to answer. Thread-safe and bounded."""

import asyncio
import contextlib
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hftool.data.batches import MAX_PADDED_FACTOR
from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer, Feature
from hftool.inference.predictor import Predictor
from hftool.server.batching.errors import Expired, Overloaded, RowError
from hftool.server.batching.selection import START_COST, select_batch
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats

OnToken = Callable[[int, int], None]  # index of the row in its request, token id
OnTokenized = Callable[[int, int], None]  # index of the row in its request, its number of tokens

MAX_FEATURES = 256  # in a batch: the most that a predictor takes at once
MAX_CHARS = 100_000  # tokenized between two batches, so that a short text does not wait for many long ones
MIN_UNPADDED = 1024  # tokens of a batch where padding costs nothing: smaller ones are slower, larger ones add latency
CACHE_BUDGETS = 8  # token budgets of a batch that fit into the key-value cache of generation
SPEED_DECAY = 0.8  # weight of older measurements in the measured speed
MAX_RETRY_AFTER = 60  # s


@dataclass(frozen=True, eq=False)
class BatchKey:
    """What rows must share to be computed together: the same options and columns.

    batch_tokens: tokens of a batch after padding, divided by the sequences generated for each row. new_tokens: generated
    for each. start_cost: as in `select_batch`. unpadded: padding costs nothing.
    """

    predictor: Predictor
    batch_tokens: int
    new_tokens: int = 0
    start_cost: int = START_COST
    unpadded: bool = False

    def fits(self, longest: int, features: int) -> bool:
        """Whether a batch may have this many features, the longest with this many tokens."""
        within = longest * features <= self.batch_tokens and features <= MAX_FEATURES
        return within and (not self.new_tokens or (longest + self.new_tokens) * features <= CACHE_BUDGETS * self.batch_tokens)


def batch_key_of(predictor: Predictor, batch_tokens: int | None, start_cost: int = START_COST) -> BatchKey:
    """The limits of the batches of a predictor, by default with its own token budget; `start_cost` as in `select_batch`."""
    sampling = predictor.head.sampling
    tokens = batch_tokens or predictor.batch_tokens or predictor.head.batch_tokens
    if batch_tokens:
        predictor = dataclasses.replace(predictor, batch_tokens=tokens)
    if sampling is None:
        return BatchKey(predictor, tokens, start_cost=start_cost, unpadded=predictor.packs)
    sequences, new = max(sampling.num_beams, sampling.num_return_sequences), sampling.max_new_tokens
    # each generation step pays the start cost again
    return BatchKey(predictor, max(1, tokens // sequences), new, start_cost * (1 + new))


@dataclass(eq=False, slots=True)
class PendingRequest:
    """A request in the queue. deadline: in monotonic seconds. unanswered: number of rows without an answer."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[list[Answer | RowError]]"
    deadline: float
    answers: list[Any]
    unanswered: int
    on_token: OnToken | None = None
    on_tokenized: OnTokenized | None = None
    is_cancelled: bool = False


@dataclass(eq=False, slots=True)
class QueuedRow:
    """One row of a request. index: in the request. features: once it is tokenized. streamed: tokens sent to on_token."""

    request: PendingRequest
    index: int
    row: Row
    key: BatchKey
    admitted: float
    features: Sequence[Feature] = ()
    length: int = 0
    tokens: int = 0
    streamed: int = 0

    def set_features(self, features: Sequence[Feature]) -> None:
        """Store the tokenized row."""
        self.features = features
        self.length = max(feature.length for feature in features)
        self.tokens = sum(feature.length for feature in features)


@dataclass(eq=False)
class WorkerLease:
    """The rows that a worker has taken from the queue.

    since: time of its last progress, None while it waits for rows. revoked: the worker was given up; results are ignored.
    """

    rows: dict[QueuedRow, None] = field(default_factory=dict)
    since: float | None = None
    revoked: bool = False

    def is_cancelled(self, row: QueuedRow) -> bool:
        """Whether a row is no longer wanted. The model asks at each step, which counts as progress."""
        self.since = time.monotonic()
        return self.revoked or row.request.is_cancelled or self.since > row.request.deadline


def _padded_batch(rows: Sequence[QueuedRow], key: BatchKey) -> list[QueuedRow]:
    """The oldest row, and those that cost little padding."""
    lengths, counts = [row.length for row in rows], [len(row.features) for row in rows]
    return [rows[i] for i in select_batch(lengths, counts, oldest=0, fits=key.fits, start_cost=key.start_cost)]


def _unpadded_batch(rows: Sequence[QueuedRow], key: BatchKey) -> list[QueuedRow]:
    """The oldest row, and those closest in length, since attention computes rows of one length together.

    Half of the queue, so that clients answered now have sent again when the other half is done; at least MIN_UNPADDED tokens.
    """
    most = min(key.batch_tokens, max(MIN_UNPADDED, sum(row.tokens for row in rows) // 2))
    batch: list[QueuedRow] = []
    tokens = features = longest = 0
    for row in sorted(rows, key=lambda row: abs(row.length - rows[0].length)):
        tokens, features, longest = tokens + row.tokens, features + len(row.features), max(longest, row.length)
        if batch and (tokens > most or features > MAX_FEATURES or longest * features > MAX_PADDED_FACTOR * key.batch_tokens):
            break
        batch.append(row)
    return batch


class RowQueue:
    """Rows that wait for tokenization, wait for a batch, or are leased to the worker; at most limits.queue_items."""

    def __init__(self, limits: Limits, stats: Stats) -> None:
        self._limits, self._stats = limits, stats
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._untokenized: deque[QueuedRow] = deque()
        self._tokenized: list[QueuedRow] = []  # the oldest first
        self._chars = 0  # taken for tokenization since the last batch
        self._rows_per_second = 0.0
        self.size = 0

    def admit(self, rows: Sequence[QueuedRow]) -> None:
        """Add all rows, or none of them. Raises Overloaded if they do not fit."""
        with self._lock:
            if self.size + len(rows) > self._limits.queue_items:
                self._stats.add("hftool_rejected_total", reason="queue_full")
                raise Overloaded(self._retry_after())
            self._change_size(len(rows))
            self._untokenized.extend(rows)
            self._changed.notify()

    def next_rows(self, lease: WorkerLease) -> list[QueuedRow]:
        """Wait for rows with one key: some to tokenize, which have no features yet, or else the next batch.

        Returns:
            The rows; none of them if the lease is revoked, since they would never be answered, and never leave the queue.
        """
        with self._lock:
            lease.since = None
            while not lease.revoked:
                if not (self._untokenized or self._tokenized):
                    self._changed.wait()
                elif rows := self._pop_untokenized() or self._pop_batch():
                    lease.rows, lease.since = dict.fromkeys(rows), time.monotonic()
                    return rows
            return []

    def put_tokenized(self, lease: WorkerLease, rows: Iterable[tuple[QueuedRow, list[Feature] | RowError]]) -> None:
        """Return tokenized rows to the queue; those that failed are answered with their error."""
        with self._lock:
            if lease.revoked:
                return
            failed = []
            for row, result in rows:
                if isinstance(result, Exception):
                    failed.append((row, result))
                    continue
                del lease.rows[row]
                if row.request.is_cancelled:
                    self._change_size(-1)
                    continue
                row.set_features(result)
                self._tokenized.append(row)
                if row.request.on_tokenized:
                    call(row.request.loop, row.request.on_tokenized, row.index, row.tokens)
            self._deliver(lease, failed)

    def deliver(self, lease: WorkerLease, answers: Sequence[tuple[QueuedRow, Answer | RowError]]) -> None:
        """Answer rows of the lease."""
        with self._lock:
            if not lease.revoked:
                self._deliver(lease, answers)

    def finish_batch(self, lease: WorkerLease, batch: Sequence[QueuedRow], seconds: float) -> None:
        """Release what is left of a batch, which was cancelled, and record its speed."""
        with self._lock:
            if lease.revoked:
                return
            self._release(lease, list(lease.rows))
            old, speed = self._rows_per_second, len(batch) / max(seconds, 1e-6)
            self._rows_per_second = SPEED_DECAY * old + (1 - SPEED_DECAY) * speed if old else speed

    def cancel(self, request: PendingRequest, reason: str) -> None:
        """Cancel a request: its waiting rows leave the queue, its leased rows are not answered."""
        with self._lock:
            if not request.is_cancelled:
                self._stats.add("hftool_dropped_total", request.unanswered, reason=reason)
                self._remove(request)

    def revoke(self, lease: WorkerLease, error: Exception) -> None:
        """Revoke a lease: requests with rows in it fail with this error."""
        with self._lock:
            lease.revoked = True
            rows = list(lease.rows)
            self._release(lease, rows)
            for request in dict.fromkeys(row.request for row in rows):
                self._fail(request, error)
            self._changed.notify_all()

    def fail_all(self, error: Exception) -> None:
        """Fail all waiting requests with this error."""
        with self._lock:
            for request in dict.fromkeys(row.request for row in (*self._untokenized, *self._tokenized)):
                self._fail(request, error)

    # ---- the methods below are called with the lock held

    def _change_size(self, rows: int) -> None:
        self.size += rows
        self._stats.add("hftool_queue_size", rows)

    def _retry_after(self) -> int:
        """Whole seconds until the rows of the queue are likely to be answered."""
        seconds = self.size / self._rows_per_second if self._rows_per_second else 1.0
        return min(MAX_RETRY_AFTER, max(1, math.ceil(seconds)))

    def _pop_untokenized(self) -> list[QueuedRow]:
        """Remove rows to tokenize, with one key; none if the tokenized ones fill a batch, or have waited for MAX_CHARS."""
        rows: list[QueuedRow] = []
        if self._tokenized and sum(row.tokens for row in self._tokenized) >= self._tokenized[0].key.batch_tokens:
            return rows
        while self._untokenized and len(rows) + len(self._tokenized) < MAX_FEATURES:
            row = self._untokenized[0]
            if rows and row.key is not rows[0].key:
                break
            chars = self._chars + sum(len(value) for value in row.row.values() if isinstance(value, str))
            if chars > MAX_CHARS and (rows or self._tokenized):
                break
            self._chars = chars
            rows.append(self._untokenized.popleft())
        return rows

    def _pop_batch(self) -> list[QueuedRow]:
        """Remove the next batch from the tokenized rows, after dropping requests past their deadline."""
        self._chars, now = 0, time.monotonic()
        for request in {row.request for row in self._tokenized if now > row.request.deadline}:
            self._stats.add("hftool_dropped_total", request.unanswered, reason="deadline")
            self._remove(request)
        if not self._tokenized:
            return []
        key = self._tokenized[0].key
        candidates = [row for row in self._tokenized if row.key is key]
        batch = _unpadded_batch(candidates, key) if key.unpadded else _padded_batch(candidates, key)
        taken = set(batch)
        self._tokenized = [row for row in self._tokenized if row not in taken]
        return batch

    def _release(self, lease: WorkerLease, rows: Sequence[QueuedRow]) -> None:
        """Remove rows from a lease and from the size of the queue."""
        for row in rows:
            del lease.rows[row]
        self._change_size(-len(rows))

    def _deliver(self, lease: WorkerLease, answers: Sequence[tuple[QueuedRow, Any]]) -> None:
        done: dict[asyncio.AbstractEventLoop, list[PendingRequest]] = {}
        self._release(lease, [row for row, _ in answers])
        for row, answer in answers:
            request = row.request
            request.answers[row.index] = answer
            request.unanswered -= 1
            if request.unanswered == 0 and not request.is_cancelled:
                done.setdefault(request.loop, []).append(request)
        for loop, requests in done.items():  # one call for all of them: each wakes the loop
            call(loop, _resolve, requests)

    def _remove(self, request: PendingRequest) -> None:
        request.is_cancelled = True
        before = len(self._untokenized) + len(self._tokenized)
        self._untokenized = deque(row for row in self._untokenized if row.request is not request)
        self._tokenized = [row for row in self._tokenized if row.request is not request]
        self._change_size(len(self._untokenized) + len(self._tokenized) - before)

    def _fail(self, request: PendingRequest, error: Exception) -> None:
        if not request.is_cancelled:
            self._stats.add("hftool_dropped_total", request.unanswered, reason="worker")
            self._remove(request)
            call(request.loop, _reject, request, error)


def expired(timeout: float) -> Expired:
    """The error of a request that was not answered within this many seconds."""
    return Expired(f"not answered within {timeout:g} s")


def _resolve(requests: Sequence[PendingRequest]) -> None:
    for request in requests:
        if not request.future.done():
            request.future.set_result(request.answers)


def _reject(request: PendingRequest, error: Exception) -> None:
    if not request.future.done():
        request.future.set_exception(error)


def call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call a function in the event loop, from any thread; if the loop is closed, there is no client left to answer."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)
