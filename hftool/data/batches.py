"""Batches of rows of similar length, to keep padding low: pure functions from token counts to row indices, seeded."""

import random
from collections.abc import Sequence

MAX_PADDED_FACTOR = 4  # a packed batch may have this many times its token budget once padded: its embeddings see the padding


def step_batches(lengths: Sequence[int], *, size: int, window: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each optimizer step of an epoch: shuffled, sorted by length within a window, the steps shuffled again.

    Args:
        lengths: Tokens of each row.
        size: Rows per step, over all processes and accumulated batches.
        window: Steps whose rows are sorted together: a larger window pads less and shuffles less, 1 shuffles fully.
        seed: Random seed of the run.
        epoch: Number of the epoch; each has its own order.

    Returns:
        Row indices of each step. Every row occurs once; the last step may be smaller.
    """
    rng = random.Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    steps: list[list[int]] = []
    for start in range(0, len(order), window * size):
        block = sorted(order[start : start + window * size], key=lengths.__getitem__)
        steps += [block[i : i + size] for i in range(0, len(block), size)]
    rng.shuffle(steps)
    return steps


def split_step(rows: list[int], *, size: int) -> list[list[int]]:
    """Split a step into batches of at most `size` rows, longest rows first so that memory runs out early or never."""
    return [rows[i : i + size] for i in range(0, len(rows), size)][::-1]


def budget_batches(lengths: Sequence[int], *, tokens: int, rows: int = 256, packed: bool = False) -> list[list[int]]:
    """Batches for inference, longest rows first; a batch of one row may exceed the budget.

    Args:
        lengths: Tokens of each row.
        tokens: Most tokens of a batch, padding included.
        rows: Most rows of a batch.
        packed: Whether the forward pass skips padding: `tokens` then counts real tokens, and the padded batch may be
            MAX_PADDED_FACTOR times larger.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches: list[list[int]] = []
    unpadded = 0  # tokens of the last batch, without padding
    for i in order:
        last = batches[-1] if batches else []
        padded = lengths[last[0]] * (len(last) + 1) if last else 0
        fits = padded <= MAX_PADDED_FACTOR * tokens and unpadded + lengths[i] <= tokens if packed else padded <= tokens
        if last and len(last) < rows and fits:
            last.append(i)
            unpadded += lengths[i]
        else:
            batches.append([i])
            unpadded = lengths[i]
    return batches
