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
MAX_CHARS = 100_000  # tokenized at a time, so that a short text does not wait for many long ones
MIN_UNPADDED = 1024  # tokens of a batch where padding costs nothing: smaller ones are slower, larger ones add latency
LOOKAHEAD = 8  # batches' worth of rows that are sorted by length
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
    sequences: int = 1
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
    return BatchKey(predictor, max(1, tokens // sequences), sequences, new, start_cost * (1 + new))


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
        self.tokens = (sum(feature.length for feature in features) + self.key.new_tokens) * self.key.sequences


@dataclass(eq=False)
class WorkerLease:
    """The rows that one thread has taken from the queue.

    since: time of its last progress, None while it waits for rows. revoked: its thread was given up; results are ignored.
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


def _unpadded_batch(rows: Sequence[QueuedRow], key: BatchKey, parallel: int) -> list[QueuedRow]:
    """The oldest row, and those closest in length, since attention computes rows of one length together.

    Half of the queue, so that clients answered now have sent again when the other half is done; at least MIN_UNPADDED tokens.
    """
    most = min(key.batch_tokens, max(MIN_UNPADDED // parallel, sum(row.tokens for row in rows) // 2))
    batch: list[QueuedRow] = []
    tokens = features = longest = 0
    for row in sorted(rows, key=lambda row: abs(row.length - rows[0].length)):
        tokens, features, longest = tokens + row.tokens, features + len(row.features), max(longest, row.length)
        if batch and (tokens > most or features > MAX_FEATURES or longest * features > MAX_PADDED_FACTOR * key.batch_tokens):
            break
        batch.append(row)
    return batch


class RowQueue:
    """Rows that wait for tokenization, wait for a batch, or are leased to a worker; at most limits.queue_items."""

    def __init__(self, limits: Limits, stats: Stats, parallel: int = 1) -> None:
        """`parallel`: number of batches that are computed at once."""
        self._limits, self._stats, self._parallel = limits, stats, parallel
        self._lock = threading.Lock()
        self._row_added, self._row_tokenized = threading.Condition(self._lock), threading.Condition(self._lock)
        self._untokenized: deque[QueuedRow] = deque()
        self._tokenized: list[QueuedRow] = []  # the oldest first
        self._tokens = 0  # of tokenized rows without an answer
        self._tokens_per_second = 0.0
        self.size = 0

    @property
    def retry_after(self) -> int:
        """Whole seconds until the rows of the queue are likely to be answered."""
        if not self._tokens_per_second:
            return 1
        return min(MAX_RETRY_AFTER, max(1, math.ceil(self._tokens / self._tokens_per_second)))

    def admit(self, rows: Sequence[QueuedRow]) -> None:
        """Add all rows, or none of them. Raises Overloaded if they do not fit."""
        with self._lock:
            if self.size + len(rows) > self._limits.queue_items:
                self._stats.add("hftool_rejected_total", reason="queue_full")
                raise Overloaded(self.retry_after)
            self._change_size(len(rows))
            self._untokenized.extend(rows)
            self._row_added.notify()

    def next_untokenized(self, lease: WorkerLease) -> list[QueuedRow]:
        """Wait for rows with one key to tokenize; none if the lease is revoked."""
        with self._lock:
            lease.since = None
            while not self._untokenized and not lease.revoked:
                self._row_added.wait()
            if lease.revoked:  # rows taken now would never be answered, and never leave the queue
                return []
            rows = [self._untokenized.popleft()]
            chars = _chars(rows[0].row)
            while self._untokenized and len(rows) < MAX_FEATURES and self._untokenized[0].key is rows[0].key:
                chars += _chars(self._untokenized[0].row)
                if chars > MAX_CHARS:
                    break
                rows.append(self._untokenized.popleft())
            self._take(lease, rows)
            return rows

    def put_tokenized(self, lease: WorkerLease, rows: Iterable[tuple[QueuedRow, list[Feature] | RowError]]) -> None:
        """Return tokenized rows to the queue; those that failed are answered with their error."""
        with self._lock:
            if lease.revoked:
                return
            failed, counted = [], []
            for row, result in rows:
                if isinstance(result, Exception):
                    failed.append((row, result))
                    continue
                del lease.rows[row]
                if row.request.is_cancelled:
                    self._change_size(-1)
                    continue
                row.set_features(result)
                self._tokens += row.tokens
                self._tokenized.append(row)
                counted += [row] if row.request.on_tokenized else []
            self._deliver(lease, failed)
            for row in counted:
                if row.request.on_tokenized:
                    call(row.request.loop, row.request.on_tokenized, row.index, sum(f.length for f in row.features))
            self._row_tokenized.notify()

    def next_batch(self, lease: WorkerLease) -> list[QueuedRow]:
        """Wait for the rows of the next batch; none if the lease is revoked."""
        with self._lock:
            lease.since = None
            while not lease.revoked:
                if not self._tokenized:
                    self._row_tokenized.wait()
                elif batch := self._pop_batch():
                    self._take(lease, batch)
                    return batch
            return []

    def _pop_batch(self) -> list[QueuedRow]:
        """Remove the next batch from the tokenized rows, after dropping requests past their deadline."""
        now = time.monotonic()
        for request in {row.request for row in self._tokenized if now > row.request.deadline}:
            self._stats.add("hftool_dropped_total", request.unanswered, reason="deadline")
            self._remove(request)
        if not self._tokenized:
            return []
        key, tokens, candidates = self._tokenized[0].key, 0, []
        for row in self._tokenized:
            if row.key is key:
                candidates.append(row)
                tokens += row.length * len(row.features)
                if tokens > LOOKAHEAD * key.batch_tokens or len(candidates) == LOOKAHEAD * MAX_FEATURES:
                    break
        batch = _unpadded_batch(candidates, key, self._parallel) if key.unpadded else _padded_batch(candidates, key)
        taken = set(batch)
        self._tokenized = [row for row in self._tokenized if row not in taken]
        if self._tokenized:
            self._row_tokenized.notify()
        return batch

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
            speed = self._parallel * sum(row.tokens for row in batch) / max(seconds, 1e-6)
            old = self._tokens_per_second
            self._tokens_per_second = SPEED_DECAY * old + (1 - SPEED_DECAY) * speed if old else speed

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
            self._row_added.notify_all()
            self._row_tokenized.notify_all()

    def fail_all(self, error: Exception) -> None:
        """Fail all waiting requests with this error."""
        with self._lock:
            for request in dict.fromkeys(row.request for row in (*self._untokenized, *self._tokenized)):
                self._fail(request, error)

    # ---- the methods below are called with the lock held

    def _change_size(self, rows: int) -> None:
        self.size += rows
        self._stats.add("hftool_queue_size", rows)

    def _take(self, lease: WorkerLease, rows: Sequence[QueuedRow]) -> None:
        lease.rows = dict.fromkeys(rows)
        lease.since = time.monotonic()

    def _release(self, lease: WorkerLease, rows: Sequence[QueuedRow]) -> None:
        """Remove rows from a lease and from the size of the queue."""
        for row in rows:
            del lease.rows[row]
            self._tokens -= row.tokens
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
        self._tokens -= sum(row.tokens for row in self._tokenized if row.request is request)
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


def _chars(row: Row) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))
