"""A corpus to blocks: texts run together and cut where a block is full, so that no token of a batch is padding."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hftool.heads.long_texts import groups, parts


def token_ids(tokenizer: Any, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """The token ids (T,) int32 of each text, without special tokens of the tokenizer's own adding.

    A few texts at a time are Python lists of numbers: a number there takes ten times the memory of an array's.
    """
    for row in groups(texts):
        cut = [[part for _, part in parts(text)] for text in texts[row]]
        found = _ids_of_parts(tokenizer, [part for text in cut for part in text])
        yield from (np.concatenate([next(found) for _ in text]) for text in cut)


def _ids_of_parts(tokenizer: Any, texts: Sequence[str]) -> Iterator[np.ndarray]:
    for rows in groups(texts):
        encoded = tokenizer(list(texts[rows]), add_special_tokens=False, return_attention_mask=False, verbose=False)
        yield from (np.array(ids, np.int32) for ids in encoded["input_ids"])


def pack(rows: Iterable[np.ndarray], size: int, *, least: int = 2) -> list[np.ndarray]:
    """Rows of ids (T_i,) run together, in order, and cut into blocks (size,) int32; the last one is shorter.

    least: a last block of fewer tokens is dropped. After 2 a decoder has something to predict.
    """
    run = np.concatenate([np.zeros(0, np.int32), *rows])
    blocks = [run[start : start + size] for start in range(0, len(run), size)]
    return blocks[:-1] if blocks and len(blocks[-1]) < least else blocks
