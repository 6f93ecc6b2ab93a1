"""Warm-up: rows of a given length, timed, and the start cost of a batch measured with them."""

import math
import time
from typing import Any

from hftool.errors import HftoolError
from hftool.heads.inputs import input_spec
from hftool.server.batching.errors import RowFailed
from hftool.server.batching.execution import features_of, run_batch
from hftool.server.batching.queue import BatchKey, PendingRequest, QueuedRow, WorkerLease

# rows, and words of each, of the batch that is compared with a single word to measure the start cost: as large as the batches
# it decides about, since a token costs more in a small batch
MEASURED_ROWS, MEASURED_WORDS = 16, 32
MIN_START_COST, MAX_START_COST = 32, 4096  # tokens


def measure_start_cost(lease: WorkerLease, key: BatchKey) -> int:
    """Measure the fixed cost of a batch, in tokens."""
    sizes = ((1, 1), (MEASURED_ROWS, MEASURED_WORDS))
    times = [min(time_batch(lease, key, rows=n, words=words)[0] for _ in range(3)) for n, words in sizes]
    return start_cost_of(times[0], times[1] - times[0])


def start_cost_of(short: float, more: float) -> int:
    """The start cost of a batch, in tokens, from the seconds for a word and the additional ones for the measured batch."""
    tokens = MEASURED_ROWS * MEASURED_WORDS * short / more if more > 0 else math.inf
    return round(min(max(tokens, MIN_START_COST), MAX_START_COST))


def time_batch(lease: WorkerLease, key: BatchKey, *, words: int, rows: int = 1) -> tuple[float, RowFailed | None]:
    """Compute rows of this many words.

    Returns:
        Seconds, and the failure if there was one. A row that the head refuses is no failure: no request can contain it.
    """
    lease.since = time.monotonic()
    spec = input_spec(key.predictor.head)
    text = " ".join([*["a"] * words, *spec.must_contain[:1]])
    [features] = features_of(key.predictor.head, [dict.fromkeys(spec.fields.values(), text)])
    if isinstance(features, HftoolError):
        return 0.0, None
    if isinstance(features, RowFailed):
        return 0.0, features
    unused: Any = None
    requests = [PendingRequest(unused, unused, math.inf, [None], 1) for _ in range(rows)]
    batch = [QueuedRow(request, 0, {}, key, lease.since) for request in requests]
    for row in batch:
        row.set_features(features)
    started = time.perf_counter()
    results = list(run_batch(batch, is_cancelled=lease.is_cancelled, on_token=lambda row, token: None))
    failed = [answer for answers in results for _, answer in answers if isinstance(answer, RowFailed)]
    return time.perf_counter() - started, failed[0] if failed else None
