"""Rows to features, and features to answers, so that a row that cannot be read or computed fails alone."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer, Feature, Head
from hftool.server.batching.errors import RowError, RowFailed
from hftool.server.batching.queue import QueuedRow

LOG = logging.getLogger(__name__)

OnToken = Callable[[QueuedRow, int], None]
IsCancelled = Callable[[QueuedRow], bool]


def features_of(head: Head, rows: Sequence[Row]) -> list[list[Feature] | RowError]:
    """The features of each row, encoded together; where that raises, each row by itself, with its error in their place."""
    if len(rows) > 1:
        try:
            return list(_by_row(head.encode(rows), len(rows)))
        except Exception:  # whose fault it is shows below
            return [_run_alone(head, row) for row in rows]
    return [_run_alone(head, row) for row in rows]


def _by_row(features: Sequence[Feature], count: int) -> list[list[Feature]]:
    """Features, in the order of their rows. Raises ValueError unless each of so many rows has some."""
    made: list[list[Feature]] = [[] for _ in range(count)]
    for feature in features:
        made[feature.row].append(feature)
    if not all(made):
        raise ValueError("a row has no features")
    return made


def _run_alone(head: Head, row: Row) -> list[Feature] | RowError:
    try:
        made = head.encode([row])
    except HftoolError as error:
        return error
    except Exception as error:
        return _poisoned(error)
    return made or RowFailed("nothing of the text can be read")


def run_batch(
    rows: Sequence[QueuedRow], *, is_cancelled: IsCancelled, on_token: OnToken
) -> Iterator[list[tuple[QueuedRow, Answer | RowFailed]]]:
    """Rows of one kind, with what the model answers to each, as one batch. Where that raises, in two halves, until the row
    that is the cause stands alone; what is computed is given out at once.

    gone: whether nobody waits for a row any more; it is then not answered. on_token: told of each token that is written, once,
    though a batch be computed again.
    """
    rows = [row for row in rows if not is_cancelled(row)]
    if not rows:
        return
    try:
        made = _run_rows(rows, is_cancelled, on_token)
    except Exception as error:
        poisoned = _poisoned(error)
    else:
        # what was given up meanwhile may be half a text
        yield [pair for pair in zip(rows, made, strict=True) if not is_cancelled(pair[0])]
        return
    # outside of the except block: the frames of the exception would keep the tensors that did not fit into memory
    if len(rows) == 1:
        yield [(rows[0], poisoned)]
        return
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        yield from run_batch(part, is_cancelled=is_cancelled, on_token=on_token)


def _run_rows(rows: Sequence[QueuedRow], is_cancelled: IsCancelled, on_token: OnToken) -> list[Answer]:
    """An answer for each row; that of a row that was given up meanwhile is empty. Raises whatever the model does."""
    predictor = rows[0].kind.predictor
    features = [feature for row in rows for feature in row.features]
    owners = rows if len(features) == len(rows) else [row for row in rows for _ in row.features]
    told = [0] * len(features)

    def tell(place: int, token: int) -> None:
        row, told[place] = owners[place], told[place] + 1
        if told[place] > row.told:  # a text is the same in any batch
            row.told = told[place]
            on_token(row, token)

    parts = predictor.parts(features, tell, is_cancelled=lambda place: is_cancelled(owners[place]))
    answers: list[Answer] = []
    first = 0
    for row in rows:
        last = first + len(row.features)
        own: list[Any] = parts[first:last]
        answers.append({} if any(part is None for part in own) else predictor.join(row.features, own))
        first = last
    return answers


def _poisoned(error: Exception) -> RowFailed:
    """What the client is told. The log has the kind of the exception and its place, and not its words, which may be those of
    the text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    LOG.warning("a batch failed: %s at %s:%s", type(error).__name__, frame.filename, frame.lineno)
    if isinstance(error, HftoolError):
        return RowFailed(error.detail, type(error))
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate" in str(error):
        return RowFailed("the model has not enough memory for this text")
    return RowFailed("the model fails on this text")
