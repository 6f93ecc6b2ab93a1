"""Tokens with character offsets, overlapping windows over long texts, and the special tokens around a text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hftool.errors import ConfigError
from hftool.heads.long_texts import groups, parts

PROBE = "a1.的"  # every vocabulary has at least one of these characters


@dataclass(frozen=True, slots=True)
class Window:
    """Positions start to end of a longer row; those from core_start to core_end are decoded from this window alone."""

    start: int
    end: int
    core_start: int
    core_end: int


def sliding_windows(length: int, size: int, overlap: int) -> list[Window]:
    """Split `length` positions into windows of at most `size` that share at least `overlap`; every position is in one core.

    Two cores meet in the middle of the overlap of their windows. The last window ends with the row and is as long as the
    others. Without positions there is one window, too.

    Raises:
        ValueError: `size` is below 1, or `overlap` is not below it.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"no windows of {size} positions that share {overlap}")
    if length <= size:
        return [Window(0, length, 0, length)]
    starts = [*range(0, length - size, size - overlap), length - size]
    borders = [0, *((later + earlier + size) // 2 for earlier, later in pairwise(starts)), length]
    return [Window(start, start + size, borders[i], borders[i + 1]) for i, start in enumerate(starts)]


@dataclass(frozen=True)
class TokenOffsets:
    """The token ids (T,) int32 of a text without special tokens, and their character offsets starts and ends (T,)."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def token_offsets(tokenizer: Any, texts: Sequence[str]) -> list[TokenOffsets]:
    """The tokens of each text, without truncation. Raises ConfigError for a tokenizer without offsets."""
    _check_offsets(tokenizer)
    split = [list(parts(text)) for text in texts]
    found = _token_offsets_of_parts(tokenizer, [part for text in split for part in text])
    return [_concatenated([next(found) for _ in text]) for text in split]


def _token_offsets_of_parts(tokenizer: Any, split: Sequence[tuple[int, str]]) -> Iterator[TokenOffsets]:
    """Parts of texts with their offsets -> the tokens of each, with offsets in the whole text."""
    texts = [part for _, part in split]
    for rows in groups(texts):
        encoded = tokenizer(
            texts[rows], add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
        for (start, _), ids, offsets in zip(split[rows], encoded["input_ids"], encoded["offset_mapping"], strict=True):
            spans = np.array(offsets, np.int32).reshape(-1, 2) + np.int32(start)
            yield TokenOffsets(np.array(ids, np.int32), spans[:, 0].copy(), spans[:, 1].copy())


def _concatenated(pieces: Sequence[TokenOffsets]) -> TokenOffsets:
    if len(pieces) == 1:
        return pieces[0]
    ids, starts, ends = zip(*((one.ids, one.starts, one.ends) for one in pieces), strict=True)
    return TokenOffsets(np.concatenate(ids), np.concatenate(starts), np.concatenate(ends))


def _check_offsets(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise ConfigError("this tokenizer has no character offsets", "Take one with a tokenizer.json")


@dataclass(frozen=True)
class SpecialTokenTemplate:
    """The special tokens before, between and after N texts."""

    runs: tuple[tuple[int, ...], ...]  # n + 1 runs of token ids
    # 2 N + 1 runs of token types, at odd indices those of the texts; empty where the family has none
    types: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        """The number of special tokens."""
        return sum(len(run) for run in self.runs)

    def around(self, *texts: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Token ids of N texts -> ids (T,) with special tokens, and token types (T,) where the family has them."""
        parts: list[Any] = [self.runs[0]]
        for text, run in zip(texts, self.runs[1:], strict=True):
            parts += [text, run]
        ids = np.concatenate([np.asarray(part, np.int32) for part in parts])
        if not self.types:
            return ids, None
        kinds = [np.resize(np.array(kind, np.int32), len(part)) for kind, part in zip(self.types, parts, strict=True)]
        return ids, np.concatenate(kinds)


def special_token_template(tokenizer: Any, texts: int = 1) -> SpecialTokenTemplate:
    """The special tokens around `texts` texts (1 or 2), from an example: transformers has no function for them.

    Raises ConfigError for a tokenizer without offsets.
    """
    _check_offsets(tokenizer)
    encoded = tokenizer(*[[PROBE]] * texts, verbose=False)
    owners, ids = encoded.sequence_ids(0), encoded["input_ids"][0]
    borders = [0]
    for text in range(texts):
        first = owners.index(text)
        borders += [first, first + owners.count(text)]
    borders.append(len(ids))
    slices = [slice(a, b) for a, b in pairwise(borders)]
    types = encoded["token_type_ids"][0] if "token_type_ids" in encoded else None
    kinds = tuple(tuple(types[part]) for part in slices) if types else ()
    return SpecialTokenTemplate(tuple(tuple(ids[part]) for part in slices[::2]), kinds)
