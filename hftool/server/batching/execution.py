"""Execution of batches: rows to features and features to answers, isolating the rows that fail."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer, Feature, Head
from hftool.server.batching.errors import RowError, RowFailed
from hftool.server.batching.queue import QueuedRow

LOG = logging.getLogger(__name__)

OnRowToken = Callable[[QueuedRow, int], None]
IsCancelled = Callable[[QueuedRow], bool]


def features_of(head: Head, rows: Sequence[Row]) -> list[list[Feature] | RowError]:
    """Encode rows together; if that raises, one by one, with an error in place of the features of each row that fails."""
    if len(rows) > 1:
        try:
            return list(_by_row(head.encode(rows), len(rows)))
        except Exception:  # encoding one by one finds the row that causes it
            return [_encode_one(head, row) for row in rows]
    return [_encode_one(head, row) for row in rows]


def _by_row(features: Sequence[Feature], count: int) -> list[list[Feature]]:
    """Group features by row. Raises ValueError if one of the `count` rows has none."""
    grouped: list[list[Feature]] = [[] for _ in range(count)]
    for feature in features:
        grouped[feature.row].append(feature)
    if not all(grouped):
        raise ValueError("a row has no features")
    return grouped


def _encode_one(head: Head, row: Row) -> list[Feature] | RowError:
    try:
        features = head.encode([row])
    except HftoolError as error:
        return error
    except Exception as error:
        return _row_failed(error)
    return features or RowFailed("nothing of the text can be read")


def run_batch(
    rows: Sequence[QueuedRow], *, is_cancelled: IsCancelled, on_token: OnRowToken
) -> Iterator[list[tuple[QueuedRow, Answer | RowFailed]]]:
    """Compute a batch; if that raises, its halves, down to the row that causes it.

    Args:
        rows: Rows with one batch key.
        is_cancelled: Whether a row is no longer wanted; it then gets no answer.
        on_token: Called with each generated token, once even if the row is computed again.

    Yields:
        Rows with their answers, as soon as they are computed.
    """
    rows = [row for row in rows if not is_cancelled(row)]
    if not rows:
        return
    try:
        answers = _run_rows(rows, is_cancelled, on_token)
    except Exception as error:
        failed = _row_failed(error)
    else:
        # the text of a row cancelled meanwhile may be incomplete
        yield [pair for pair in zip(rows, answers, strict=True) if not is_cancelled(pair[0])]
        return
    # outside of the except block: the frames of the exception would keep the tensors that did not fit into memory
    if len(rows) == 1:
        yield [(rows[0], failed)]
        return
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        yield from run_batch(part, is_cancelled=is_cancelled, on_token=on_token)


def _run_rows(rows: Sequence[QueuedRow], is_cancelled: IsCancelled, on_token: OnRowToken) -> list[Answer]:
    """An answer for each row, empty if it was cancelled meanwhile. Raises whatever the model raises."""
    predictor = rows[0].key.predictor
    features = [feature for row in rows for feature in row.features]
    owners = rows if len(features) == len(rows) else [row for row in rows for _ in row.features]
    generated = [0] * len(features)

    def _stream(index: int, token: int) -> None:
        row, generated[index] = owners[index], generated[index] + 1
        if generated[index] > row.streamed:  # a text is the same in any batch
            row.streamed = generated[index]
            on_token(row, token)

    parts: list[Any] = [None] * len(features)
    for batch in predictor.make_batches(features):
        if not all([is_cancelled(owners[index]) for index in batch.indices]):
            batch.put(parts, predictor.compute(batch, _stream, is_cancelled=lambda index: is_cancelled(owners[index])))
    remaining = iter(parts)
    own = [list(islice(remaining, len(row.features))) for row in rows]
    complete = [i for i, row_parts in enumerate(own) if not any(part is None for part in row_parts)]
    answers: list[Answer] = [{} for _ in rows]
    joined = predictor.join_rows([rows[i].features for i in complete], [own[i] for i in complete])
    for i, answer in zip(complete, joined, strict=True):
        answers[i] = answer
    return answers


def _row_failed(error: Exception) -> RowFailed:
    """The error for the client. The log gets the class and the line of the exception; its message may quote the text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    LOG.warning("a batch failed: %s at %s:%s", type(error).__name__, frame.filename, frame.lineno)
    if isinstance(error, HftoolError):
        return RowFailed(error.detail, type(error))
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate" in str(error):
        return RowFailed("the model has not enough memory for this text")
    return RowFailed("the model fails on this text")
