"""Requests and their rows, from admission to answer: a queue that any thread may use, with a bound on what it holds."""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hftool.data.batches import AREA
from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer, Feature
from hftool.inference.predictor import Predictor
from hftool.server.batching.errors import Expired, Overloaded, RowError
from hftool.server.batching.selection import START, select_batch
from hftool.server.limits import Limits
from hftool.server.metrics import Stats

OnText = Callable[[int, int], None]  # place of the row in its request, token id
OnRead = Callable[[int, int], None]  # place of the row in its request, how many tokens it has

ROWS = 256  # rows, or windows of rows, in a batch: the most that a predictor takes at once
CHARS = 100_000  # characters tokenized at a time, so that a short text does not wait for many long ones
LEAST_PACKED = 1024  # tokens of a batch where padding costs nothing: fewer are slower, more keep those who wait
AHEAD = 8  # batches' worth of rows that are sorted by length
KEPT = 8  # times the budget of a batch: the positions that a model remembers while it writes
LINGER, LONGEST_LINGER = 0.05, 0.01  # of the time of the last batch, s: so long those whom it answered are waited for
FADING = 0.8  # weight of what was measured before in the measured speed
LONGEST_RETRY = 60  # s


@dataclass(frozen=True, eq=False)
class BatchKey:
    """Rows that may share a batch: the same options, the same roles.

    batch_tokens: tokens of a batch after padding, already divided by the sequences generated for each row. new: tokens
    generated for each. start: as in `select_batch`. packed: padding costs nothing.
    """

    predictor: Predictor
    batch_tokens: int
    copies: int = 1
    new: int = 0
    start: int = START
    packed: bool = False

    def fits(self, longest: int, features: int) -> bool:
        """Whether a batch may have so many features, the longest of so many tokens."""
        within = longest * features <= self.batch_tokens and features <= ROWS
        return within and (not self.new or (longest + self.new) * features <= KEPT * self.batch_tokens)


@dataclass(eq=False, slots=True)
class PendingRequest:
    """A request: who waits for it, until when (monotonic seconds), and what it has so far. open: rows without an answer."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[list[Answer | RowError]]"
    deadline: float
    answers: list[Any]
    open: int
    on_text: OnText | None = None
    on_read: OnRead | None = None
    is_cancelled: bool = False


@dataclass(eq=False, slots=True)
class QueuedRow:
    """One row of a request. features: once it is tokenized. told: how many of its tokens on_text knows."""

    ticket: PendingRequest
    place: int
    row: Row
    kind: BatchKey
    admitted: float
    features: Sequence[Feature] = ()
    length: int = 0
    tokens: int = 0
    told: int = 0

    def take(self, features: Sequence[Feature]) -> None:
        """The row is tokenized."""
        self.features = features
        self.length = max(feature.length for feature in features)
        self.tokens = (sum(feature.length for feature in features) + self.kind.new) * self.kind.copies


@dataclass(eq=False)
class WorkerLease:
    """What one thread has taken from the queue. since: when it last moved, None while it waits for rows. retired: it was given
    up, and whatever it still brings is not wanted. size, seconds, ended: its last batch."""

    rows: dict[QueuedRow, None] = field(default_factory=dict)
    since: float | None = None
    retired: bool = False
    size: int = 0
    seconds: float = 0.0
    ended: float = 0.0


def _alike(rows: Sequence[QueuedRow], kind: BatchKey) -> list[QueuedRow]:
    """The oldest, and those that go with it."""
    lengths, counts = [row.length for row in rows], [len(row.features) for row in rows]
    return [rows[place] for place in select_batch(lengths, counts, oldest=0, fits=kind.fits, start=kind.start)]


def _nearest(rows: Sequence[QueuedRow], kind: BatchKey) -> list[QueuedRow]:
    """The oldest, and those of about its length, since attention computes rows of one length together. Half of what waits, so
    that those who are answered have asked again before the other half is done; no less than LEAST_PACKED tokens."""
    most = min(kind.batch_tokens, max(LEAST_PACKED, sum(row.tokens for row in rows) // 2))
    batch: list[QueuedRow] = []
    tokens = features = longest = 0
    for row in sorted(rows, key=lambda row: abs(row.length - rows[0].length)):
        tokens, features, longest = tokens + row.tokens, features + len(row.features), max(longest, row.length)
        if batch and (tokens > most or features > ROWS or longest * features > AREA * kind.batch_tokens):
            break
        batch.append(row)
    return batch


class RowQueue:
    """Rows on their way: admitted, tokenized, computed. Never more of them than limits.queue_items."""

    def __init__(self, limits: Limits, stats: Stats) -> None:
        self._limits, self._stats = limits, stats
        self._lock = threading.Lock()
        self._fresh_came, self._read_came = threading.Condition(self._lock), threading.Condition(self._lock)
        self._fresh: deque[QueuedRow] = deque()
        self._read: list[QueuedRow] = []  # the oldest first
        self._tokens = 0  # of rows that are tokenized and not answered
        self._speed = 0.0  # tokens a second
        self.held = 0

    @property
    def retry_after(self) -> int:
        """Whole seconds until what is held now is likely to be answered."""
        return min(LONGEST_RETRY, max(1, math.ceil(self._tokens / self._speed))) if self._speed else 1

    def admit(self, rows: Sequence[QueuedRow]) -> None:
        """Raises Overloaded when so many rows do not fit; then none of them is in the queue."""
        with self._lock:
            if self.held + len(rows) > self._limits.queue_items:
                self._stats.add("hftool_rejected_total", reason="queue_full")
                raise Overloaded(self.retry_after)
            self._hold(len(rows))
            self._fresh.extend(rows)
            self._fresh_came.notify()

    def next_fresh(self, hand: WorkerLease) -> list[QueuedRow]:
        """Rows of one kind to be tokenized, as soon as there are some; none when the hand is retired."""
        with self._lock:
            hand.since = None
            while not self._fresh and not hand.retired:
                self._fresh_came.wait()
            if hand.retired:  # what it took now nobody would answer, and its places in the queue were lost
                return []
            taken = [self._fresh.popleft()]
            chars = _chars(taken[0].row)
            while self._fresh and len(taken) < ROWS and self._fresh[0].kind is taken[0].kind:
                chars += _chars(self._fresh[0].row)
                if chars > CHARS:
                    break
                taken.append(self._fresh.popleft())
            self._into(hand, taken)
            return taken

    def put_read(self, hand: WorkerLease, rows: Iterable[tuple[QueuedRow, list[Feature] | RowError]]) -> None:
        """Tokenized rows, to be computed; those that cannot be read have their answer."""
        with self._lock:
            if hand.retired:
                return
            failed, counted = [], []
            for row, made in rows:
                if isinstance(made, Exception):
                    failed.append((row, made))
                    continue
                del hand.rows[row]
                if row.ticket.is_cancelled:
                    self._hold(-1)
                    continue
                row.take(made)
                self._tokens += row.tokens
                self._read.append(row)
                counted += [row] if row.ticket.on_read else []
            self._answer(hand, failed)
            for row in counted:
                if row.ticket.on_read:
                    call(row.ticket.loop, row.ticket.on_read, row.place, sum(f.length for f in row.features))
            self._read_came.notify()

    def next_batch(self, hand: WorkerLease) -> list[QueuedRow]:
        """The rows of the next batch, as soon as there are some; none when the hand is retired."""
        with self._lock:
            hand.since = None
            while True:
                if hand.retired:
                    return []
                linger = self._linger(hand)
                if linger > 0 or not self._read:
                    self._read_came.wait(linger or None)
                    continue
                if batch := self._chosen():
                    self._into(hand, batch)
                    return batch

    def _linger(self, hand: WorkerLease) -> float:
        """Seconds to wait for more rows: those who were just answered together ask again together, and the first of them would
        have a batch of its own while the others wait."""
        if len(self._read) >= hand.size:
            return 0.0
        return max(0.0, hand.ended + min(LINGER * hand.seconds, LONGEST_LINGER) - time.monotonic())

    def _chosen(self) -> list[QueuedRow]:
        """Take the next batch out of the rows that are read; those whose time is over are dropped first."""
        now = time.monotonic()
        for ticket in {row.ticket for row in self._read if now > row.ticket.deadline}:
            self._stats.add("hftool_dropped_total", ticket.open, reason="deadline")
            self._drop(ticket)
        if not self._read:
            return []
        kind, tokens, seen = self._read[0].kind, 0, []
        for row in self._read:
            if row.kind is kind:
                seen.append(row)
                tokens += row.length * len(row.features)
                if tokens > AHEAD * kind.batch_tokens or len(seen) == AHEAD * ROWS:
                    break
        batch = _nearest(seen, kind) if kind.packed else _alike(seen, kind)
        taken = set(batch)
        self._read = [row for row in self._read if row not in taken]
        return batch

    def answers(self, hand: WorkerLease, made: Sequence[tuple[QueuedRow, Answer | RowError]]) -> None:
        """The answers of rows of the hand."""
        with self._lock:
            if not hand.retired:
                self._answer(hand, made)

    def worked(self, hand: WorkerLease, batch: Sequence[QueuedRow], seconds: float) -> None:
        """The hand has done a batch. Rows of it that have no answer were given up."""
        with self._lock:
            if hand.retired:
                return
            self._let_go(hand, list(hand.rows))
            speed = sum(row.tokens for row in batch) / max(seconds, 1e-6)
            self._speed = FADING * self._speed + (1 - FADING) * speed if self._speed else speed
            hand.size, hand.seconds, hand.ended = len(batch), seconds, time.monotonic()

    def abandon(self, ticket: PendingRequest, reason: str) -> None:
        """Nobody waits for the request any more: its rows that are in no hand leave the queue, the others are not answered."""
        with self._lock:
            if not ticket.is_cancelled:
                self._stats.add("hftool_dropped_total", ticket.open, reason=reason)
                self._drop(ticket)

    def retire(self, hand: WorkerLease, error: Exception) -> None:
        """Give up a hand: requests with rows in it fail with this error."""
        with self._lock:
            hand.retired = True
            rows = list(hand.rows)
            self._let_go(hand, rows)
            for ticket in dict.fromkeys(row.ticket for row in rows):
                self._fail(ticket, error)
            self._fresh_came.notify_all()
            self._read_came.notify_all()

    def fail_all(self, error: Exception) -> None:
        """All requests that wait fail with this error."""
        with self._lock:
            for ticket in dict.fromkeys(row.ticket for row in (*self._fresh, *self._read)):
                self._fail(ticket, error)

    # ---- below here the lock is held

    def _hold(self, rows: int) -> None:
        self.held += rows
        self._stats.add("hftool_queue_size", rows)

    def _into(self, hand: WorkerLease, rows: Sequence[QueuedRow]) -> None:
        hand.rows = dict.fromkeys(rows)
        hand.since = time.monotonic()

    def _let_go(self, hand: WorkerLease, rows: Sequence[QueuedRow]) -> None:
        """Rows of the hand are done with."""
        for row in rows:
            del hand.rows[row]
            self._tokens -= row.tokens
        self._hold(-len(rows))

    def _answer(self, hand: WorkerLease, made: Sequence[tuple[QueuedRow, Any]]) -> None:
        done: dict[asyncio.AbstractEventLoop, list[PendingRequest]] = {}
        self._let_go(hand, [row for row, _ in made])
        for row, one in made:
            ticket = row.ticket
            ticket.answers[row.place] = one
            ticket.open -= 1
            if ticket.open == 0 and not ticket.is_cancelled:
                done.setdefault(ticket.loop, []).append(ticket)
        for loop, tickets in done.items():  # one call for all of them: it wakes the loop
            call(loop, _settle, tickets)

    def _drop(self, ticket: PendingRequest) -> None:
        ticket.is_cancelled = True
        before = len(self._fresh) + len(self._read)
        self._fresh = deque(row for row in self._fresh if row.ticket is not ticket)
        self._tokens -= sum(row.tokens for row in self._read if row.ticket is ticket)
        self._read = [row for row in self._read if row.ticket is not ticket]
        self._hold(len(self._fresh) + len(self._read) - before)

    def _fail(self, ticket: PendingRequest, error: Exception) -> None:
        if not ticket.is_cancelled:
            self._stats.add("hftool_dropped_total", ticket.open, reason="worker")
            self._drop(ticket)
            call(ticket.loop, _refuse, ticket, error)


def expired(timeout: float) -> Expired:
    """What is said when a request has not been answered in so many seconds."""
    return Expired(f"not answered within {timeout:g} s")


def _settle(tickets: Sequence[PendingRequest]) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_result(ticket.answers)


def _refuse(ticket: PendingRequest, error: Exception) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(error)


def call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call something in the event loop, from any thread; a loop that is closed has nobody who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def _chars(row: Row) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))
