"""Which rows go together: batches of similar length, so that little of a batch is padding.

Both functions are pure: lengths in, lists of positions out, the same for the same seed.
"""

import random
from collections.abc import Sequence

MAX_PADDED_FACTOR = 4  # times the budget: what a packed batch may have with its padding, which its embeddings still see


def step_batches(lengths: Sequence[int], *, size: int, window: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each optimizer step of an epoch: shuffled, sorted by length within a window, the steps shuffled again.

    lengths: tokens of each row. size: rows of a step over all processes and accumulated batches. window: steps whose rows are
    sorted together; a larger one pads less and shuffles less, 1 draws each step at random. Every row comes exactly once; the
    last step may be smaller.
    """
    rng = random.Random(f"{seed}-{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    steps: list[list[int]] = []
    for start in range(0, len(order), window * size):
        near = sorted(order[start : start + window * size], key=lengths.__getitem__)
        steps += [near[i : i + size] for i in range(0, len(near), size)]
    rng.shuffle(steps)
    return steps


def split_step(rows: list[int], *, size: int) -> list[list[int]]:
    """A step cut into batches of at most `size` rows, longest rows first so that memory runs out early or never."""
    return [rows[i : i + size] for i in range(0, len(rows), size)][::-1]


def budget_batches(lengths: Sequence[int], *, tokens: int, rows: int = 256, packed: bool = False) -> list[list[int]]:
    """Batches for inference: sorted by length, each at most `tokens` after padding and `rows` rows; one row always fits.

    packed: padding costs nothing but memory, and batches may have MAX_PADDED_FACTOR times as many tokens with it.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches: list[list[int]] = []
    held = 0  # tokens of the last batch, without padding
    for i in order:
        last = batches[-1] if batches else []
        area = lengths[last[0]] * (len(last) + 1) if last else 0
        fits = area <= MAX_PADDED_FACTOR * tokens and held + lengths[i] <= tokens if packed else area <= tokens
        if last and len(last) < rows and fits:
            last.append(i)
            held += lengths[i]
        else:
            batches.append([i])
            held = lengths[i]
    return batches
