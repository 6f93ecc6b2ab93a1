"""Packing a corpus: texts are concatenated and split into blocks, so that batches have no padding."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hftool.heads.long_texts import groups, parts


def token_ids(tokenizer: Any, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """The token ids (T,) int32 of each text, without special tokens.

    Few texts at a time are Python lists, which take ten times the memory of arrays.
    """
    for row in groups(texts):
        split = [[part for _, part in parts(text)] for text in texts[row]]
        found = _ids_of_parts(tokenizer, [part for text in split for part in text])
        yield from (np.concatenate([next(found) for _ in text]) for text in split)


def _ids_of_parts(tokenizer: Any, texts: Sequence[str]) -> Iterator[np.ndarray]:
    for rows in groups(texts):
        encoded = tokenizer(list(texts[rows]), add_special_tokens=False, return_attention_mask=False, verbose=False)
        yield from (np.array(ids, np.int32) for ids in encoded["input_ids"])


def pack(rows: Iterable[np.ndarray], size: int, *, least: int = 2) -> list[np.ndarray]:
    """Concatenate rows of ids (T_i,) and split them into blocks (size,) int32, the last one shorter.

    A last block of fewer than `least` tokens is dropped; a decoder needs 2 to predict one.
    """
    run = np.concatenate([np.zeros(0, np.int32), *rows])
    blocks = [run[start : start + size] for start in range(0, len(run), size)]
    return blocks[:-1] if blocks and len(blocks[-1]) < least else blocks
