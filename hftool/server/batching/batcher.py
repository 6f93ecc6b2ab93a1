"""Rows of many requests, gathered into batches for one model.

A request is admitted by the number of its rows, or refused at once. A thread tokenizes what was admitted, a second one computes
it, batch after batch, without a pause while something waits. What differs between a batch and its rows alone is speed only.
A third thread looks after the two: when one falls or hangs, both are replaced.
"""

import asyncio
import dataclasses
import functools
import json
import logging
import math
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer, Head
from hftool.inference.generation import check_sampling
from hftool.inference.predictor import Predictor
from hftool.server.batching.errors import Expired, Overloaded, RowError, RowFailed, Unavailable
from hftool.server.batching.execution import features_of, run_batch
from hftool.server.batching.queue import (
    BatchKey,
    OnRead,
    OnText,
    PendingRequest,
    QueuedRow,
    RowQueue,
    WorkerLease,
    call,
    expired,
)
from hftool.server.batching.selection import START
from hftool.server.limits import Limits
from hftool.server.metrics import Stats

__all__ = ["Batcher", "Expired", "OnRead", "OnText", "Overloaded", "RowError", "RowFailed", "Unavailable"]

LOG = logging.getLogger(__name__)

KINDS = 256  # sets of options whose predictors are kept, the least recently used dropped first
FAILURES, FAILURE_WINDOW = 3, 60.0  # so many within so many seconds, and the worker is given up for good
FIRST_PAUSE = 0.1  # s before the first restart; twice as long before each one after it
TICK = 0.1  # s between two looks at the threads
DRAIN_TICK = 0.01  # s
# rows, and words of each, of the batch that is compared with one word, to measure what the start of a batch costs: as large as
# those that it decides about, since a token costs a small batch less than a large one
MEASURED_ROWS, MEASURED_WORDS = 16, 32
LEAST_START, LARGEST_START = 32, 4096  # tokens
STOP_WAIT = 2.0  # s for a batch that is computed to end


@dataclass(eq=False)
class WorkerPair:
    """The two threads that work together, and what each of them has in hand. warm: they have answered once."""

    reader: WorkerLease = field(default_factory=WorkerLease)
    worker: WorkerLease = field(default_factory=WorkerLease)
    threads: tuple[threading.Thread, ...] = ()
    warm: threading.Event = field(default_factory=threading.Event)
    retired: bool = False


class Batcher:
    """Answers rows of any number of requests with one model.

    make: the options of a head, among them "decoding" -> a predictor that answers with them. Nothing else may encode with its
    tokenizer while the batcher lives, since the tokenizers library keeps its truncation in the tokenizer. name: of the model,
    for the log. fatal: None, or why the model is given up for good, fatal_kind: the class of that error; on_fatal, where it is
    set, is called with the reason, in a thread of the batcher.
    """

    def __init__(self, make: Callable[[Mapping[str, Any]], Predictor], limits: Limits, stats: Stats, *, name: str = "") -> None:
        self._make, self._limits, self._stats = make, limits, stats
        self._queue = RowQueue(limits, stats)
        self._predictors: OrderedDict[str, tuple[str, Predictor]] = OrderedDict()
        self._kinds: OrderedDict[tuple[str, ...], BatchKey] = OrderedDict()
        self._lock = threading.Lock()  # of what follows
        self._crew: WorkerPair | None = None
        self._falls: deque[float] = deque()
        self._hung = 0.0  # s that were lost in hanging: they are no part of the time between two falls
        self._restart_at = 0.0
        self._draining = False
        self._stopping = threading.Event()
        self._start = START  # as in `pick`
        self._who = f"model '{name}'" if name else "the model"
        self.fatal: str | None = None
        self.fatal_kind: type[HftoolError] = HftoolError
        self.on_fatal: Callable[[str], None] | None = None

    def start(self) -> None:
        """Start the threads; returns at once. The model is ready when it has answered a short row and one that is longer than
        the token budget."""
        self._start_workers()
        threading.Thread(target=self._watch, daemon=True, name="hftool-watch").start()

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        crew = self._crew
        return bool(crew and crew.warm.is_set() and not crew.retired) and not self._draining and not self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Rows that wait or are computed."""
        return self._queue.held

    @property
    def retry_after(self) -> int:
        """Whole seconds until what waits now is likely to be answered."""
        return self._queue.retry_after

    async def submit(
        self,
        rows: Sequence[Row],
        *,
        options: Mapping[str, Any],
        timeout: float,
        on_text: OnText | None = None,
        on_read: OnRead | None = None,
    ) -> list[Answer | RowError]:
        """An answer, or what is wrong with it, for each row, in their order.

        options: of the head, as `make` takes them. timeout: seconds. on_text: told of each token that is written, where one
        text is written for each row and without beams; on_read: told of the tokens of each row; both in the event loop, the
        row by its place. Who cancels the task is not waited for: rows that are not computed yet never will be, and a text ends
        at the next token. Raises Overloaded, Unavailable, Expired; UsageError for options that there are not.
        """
        if not self.ready:
            raise Unavailable(self._why_not())
        if not rows:
            return []
        loop, now = asyncio.get_running_loop(), time.monotonic()
        ticket = PendingRequest(loop, loop.create_future(), now + timeout, [None] * len(rows), len(rows), on_text, on_read)
        self._queue.admit([QueuedRow(ticket, i, row, self._batch_key(options, row), now) for i, row in enumerate(rows)])
        timer = loop.call_later(timeout, self._expire, ticket, timeout)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._queue.abandon(ticket, "gone")
            raise
        finally:
            timer.cancel()

    def _expire(self, ticket: PendingRequest, timeout: float) -> None:
        if not ticket.future.done():
            ticket.future.set_exception(expired(timeout))
            self._queue.abandon(ticket, "deadline")

    def _why_not(self) -> str:
        if self.fatal:
            return self.fatal
        if self._draining or self._stopping.is_set():
            return "the server is about to stop"
        return "the model does not answer yet"

    async def drain(self, seconds: float) -> bool:
        """Take nothing more, and wait so long for what is in flight. -> whether all of it was answered."""
        self._draining = True
        until = time.monotonic() + seconds
        while self.waiting and time.monotonic() < until:
            await asyncio.sleep(DRAIN_TICK)
        return not self.waiting

    def stop(self) -> bool:
        """End the threads; what is in flight gets Unavailable. -> whether they have ended: one that is inside of a long batch
        has not, and Python must then be left by os._exit, since it would abort."""
        self._stopping.set()
        with self._lock:
            crew = self._crew
            if crew is not None:
                self._abandon_workers(crew, Unavailable("the server stops"))
        self._queue.fail_all(Unavailable("the server stops"))
        threads = crew.threads if crew else ()
        until = time.monotonic() + STOP_WAIT
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # ---- options

    def _batch_key(self, options: Mapping[str, Any], row: Row) -> BatchKey:
        """What the rows must have in common to share a batch. Raises UsageError."""
        name, predictor = self._predictor(options)
        key = (name, *sorted(row))
        known = self._kinds.get(key)
        if known is None:
            known = self._kinds[key] = batch_key_of(predictor, self._limits.batch_tokens, self._start)
            if len(self._kinds) > KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(key)
        return known

    def _predictor(self, options: Mapping[str, Any]) -> tuple[str, Predictor]:
        """A predictor, and the name that all have that answer alike: a setting that is spelled out and as usual is none."""
        key = json.dumps(options, sort_keys=True, default=repr) if options else ""
        if key in self._predictors:
            self._predictors.move_to_end(key)
            return self._predictors[key]
        predictor = self._make(options)
        writing = predictor.head.sampling
        if writing is not None:
            check_sampling(writing)
        rest = {name: value for name, value in options.items() if name != "sampling"}
        made = f"{json.dumps(rest, sort_keys=True, default=repr)} {writing}", predictor
        self._predictors[key] = made
        if len(self._predictors) > KINDS:
            self._predictors.popitem(last=False)
        return made

    # ---- the threads

    def _start_workers(self) -> None:
        crew = WorkerPair()
        jobs = (("hftool-reader", self._read), ("hftool-worker", self._work))
        crew.threads = tuple(threading.Thread(target=self._run, args=(crew, job), daemon=True, name=name) for name, job in jobs)
        self._crew = crew
        for thread in crew.threads:
            thread.start()

    def _run(self, crew: WorkerPair, job: Callable[[WorkerPair], None]) -> None:
        try:
            job(crew)
        except BaseException as error:  # whatever it is, the thread ends with it
            kind = (
                error.kind if isinstance(error, RowFailed) else type(error) if isinstance(error, HftoolError) else HftoolError
            )
            self._on_failure(crew, _reason(error), kind=kind)

    def _read(self, crew: WorkerPair) -> None:
        crew.warm.wait()  # until then the worker encodes
        while rows := self._queue.next_fresh(crew.reader):
            made = features_of(rows[0].kind.predictor.head, [row.row for row in rows])
            self._queue.put_read(crew.reader, zip(rows, made, strict=True))

    def _work(self, crew: WorkerPair) -> None:
        self._warm_up(crew)
        while batch := self._queue.next_batch(crew.worker):
            self._compute(crew.worker, batch)

    def _compute(self, hand: WorkerLease, batch: Sequence[QueuedRow]) -> None:
        began = time.monotonic()
        self._observe(batch, began)
        is_cancelled, tell = functools.partial(_given_up, hand), functools.partial(_tell, hand)
        for piece in run_batch(batch, is_cancelled=is_cancelled, on_token=tell):
            self._queue.answers(hand, piece)
        self._queue.worked(hand, batch, time.monotonic() - began)

    def _observe(self, batch: Sequence[QueuedRow], began: float) -> None:
        features = sum(len(row.features) for row in batch)
        real = sum(feature.length for row in batch for feature in row.features)
        padded = real if batch[0].kind.packed else max(row.length for row in batch) * features
        self._stats.observe("hftool_queue_duration_seconds", *(began - row.admitted for row in batch))
        self._stats.observe("hftool_batch_items", len(batch))
        self._stats.observe("hftool_batch_tokens", padded)
        self._stats.observe("hftool_padding_ratio", 1 - real / padded if padded else 0.0)

    def _warm_up(self, crew: WorkerPair) -> None:
        """Answer a short row, and one longer than the token budget; measure what a batch costs to start. Raises Poisoned when
        the model fails on the first."""
        head = self._make({}).head
        options = {"sampling": {"max_new_tokens": 2}} if head.sampling is not None else {}
        kind = batch_key_of(self._make(options), self._limits.batch_tokens)
        for words in (1, min(kind.batch_tokens + 1, self._limits.text_chars // 2)):
            _, failed = _timed(crew.worker, kind, words=words)
            if failed and words == 1:
                raise failed
            if failed:
                LOG.warning("%s fails on a text of %d words: %s", self._who, words, failed)
        if head.sampling is None:
            sizes = ((1, 1), (MEASURED_ROWS, MEASURED_WORDS))
            points = [min(_timed(crew.worker, kind, rows=n, words=words)[0] for _ in range(3)) for n, words in sizes]
            self._start = start_of(points[0], points[1] - points[0])
        crew.warm.set()

    def _watch(self) -> None:
        """Look after the threads: replace those that hang, have ended, or fell."""
        hang = self._limits.hang
        while not self._stopping.wait(min(TICK, hang / 4)):
            now, crew = time.monotonic(), self._crew
            if self.fatal or crew is None:
                return
            if crew.retired:
                if now >= self._restart_at:
                    self._start_workers()
                continue
            for hand, thread in zip((crew.reader, crew.worker), crew.threads, strict=True):
                since = hand.since
                if since is not None and now - since > hang:
                    self._on_failure(crew, f"nothing moved for {hang:g} s", lost=hang)
                elif not thread.is_alive():
                    self._on_failure(crew, f"the thread {thread.name} ended")

    def _on_failure(self, crew: WorkerPair, reason: str, lost: float = 0.0, kind: type[HftoolError] = HftoolError) -> None:
        """The crew is given up: what it has in hand gets Unavailable, what waits is left to the next one."""
        with self._lock:
            if crew.retired or self._stopping.is_set():
                return
            self._hung += lost
            now = time.monotonic()
            self._falls.append(now - self._hung)
            while self._falls[0] < self._falls[-1] - FAILURE_WINDOW:
                self._falls.popleft()
            count = len(self._falls)
            self._restart_at = now + FIRST_PAUSE * 2 ** (count - 1)
            if count >= FAILURES:
                self.fatal_kind = kind
                self.fatal = (
                    f"the worker of {self._who} fell {count} times within {FAILURE_WINDOW:g} s, the last time by: {reason}"
                )
            self._abandon_workers(crew, Unavailable("the model's worker fell; it is started again"))
        LOG.error("the worker of %s fell: %s", self._who, reason)
        if self.fatal:
            self._queue.fail_all(Unavailable(self.fatal))
            if self.on_fatal is not None:
                self.on_fatal(self.fatal)

    def _abandon_workers(self, crew: WorkerPair, error: Exception) -> None:
        crew.retired = True
        for hand in (crew.worker, crew.reader):
            self._queue.retire(hand, error)
        crew.warm.set()  # a reader that waits for it finds that it is retired


def batch_key_of(predictor: Predictor, batch_tokens: int | None, start: int = START) -> BatchKey:
    """The batches that a predictor takes. batch_tokens: None for as many as its head does. start: as in `select_batch`."""
    writing = predictor.head.sampling
    tokens = batch_tokens or predictor.batch_tokens or predictor.head.batch_tokens
    if batch_tokens:
        predictor = dataclasses.replace(predictor, batch_tokens=tokens)
    if writing is None:
        return BatchKey(predictor, tokens, start=start, packed=predictor.packs)
    copies, new = max(writing.beams, writing.samples), writing.max_new_tokens
    return BatchKey(predictor, max(1, tokens // copies), copies, new, start * (1 + new))  # each step of writing starts anew


def start_of(short: float, more: float) -> int:
    """What the start of a batch costs, in tokens. short: seconds for a word, more: what the measured batch takes beyond."""
    tokens = MEASURED_ROWS * MEASURED_WORDS * short / more if more > 0 else math.inf
    return round(min(max(tokens, LEAST_START), LARGEST_START))


def _timed(hand: WorkerLease, kind: BatchKey, *, words: int, rows: int = 1) -> tuple[float, RowFailed | None]:
    """Answer rows of so many words -> seconds, and how it failed. One that the head refuses is no failure: no request can have
    it."""
    hand.since = time.monotonic()
    [made] = features_of(kind.predictor.head, [warm_row(kind.predictor.head, words)])
    if isinstance(made, HftoolError):
        return 0.0, None
    if isinstance(made, RowFailed):
        return 0.0, made
    batch = [QueuedRow(_nobodys_ticket(), 0, {}, kind, hand.since) for _ in range(rows)]
    for row in batch:
        row.take(made)
    began = time.perf_counter()
    pieces = list(run_batch(batch, is_cancelled=functools.partial(_given_up, hand), on_token=_say_nothing))
    failed = [one for piece in pieces for _, one in piece if isinstance(one, RowFailed)]
    return time.perf_counter() - began, failed[0] if failed else None


def warm_row(head: Head, words: int) -> Row:
    """A row of so many words that the head answers."""
    text = " ".join([*["a"] * words, *head.asks.holds[:1]])
    return dict.fromkeys(head.asks.texts.values(), text)


def _nobodys_ticket() -> PendingRequest:
    nobody: Any = None
    return PendingRequest(nobody, nobody, math.inf, [None], 1)


def _given_up(hand: WorkerLease, row: QueuedRow) -> bool:
    """Whether a row is to be left. That it is asked shows that the thread moves."""
    hand.since = time.monotonic()
    return hand.retired or row.ticket.is_cancelled or hand.since > row.ticket.deadline


def _tell(hand: WorkerLease, row: QueuedRow, token: int) -> None:
    ticket = row.ticket
    if ticket.on_text is not None and not hand.retired and not ticket.is_cancelled:
        call(ticket.loop, ticket.on_text, row.place, token)


def _say_nothing(row: QueuedRow, token: int) -> None:
    pass


def _reason(error: BaseException) -> str:
    """What a thread ended with, without words that may be those of a text."""
    if isinstance(error, RowFailed | HftoolError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
