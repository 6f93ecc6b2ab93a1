"""A key-value cache that is allocated ahead, so that a step copies one token into it and nothing else."""

import math

import torch

SPARE = 64  # tokens that are allocated ahead, at least


class PreallocatedCache:
    """Keys and values of the tokens before the next one, in all layers, for N sequences that end at the same index.

    Args:
        mask: (N, T): 0 at padding, which is not attended to.
        layers: Number of layers.
        heads: Number of heads.
        width: Of a head.
    """

    def __init__(self, mask: torch.Tensor, layers: int, heads: int, width: int) -> None:
        self.length = mask.shape[1]
        self._values = torch.empty(layers, len(mask), 2, heads, _capacity(self.length), width)
        self._mask = _additive(mask, self._values.shape[4])
        if self._mask is not None:  # what padding holds is multiplied by 0, which NaN survives
            self._values[:, :, :, :, : self.length].zero_()

    @property
    def mask(self) -> torch.Tensor | None:
        """What is added to the attention scores, (N, 1, 1, length); None: nothing."""
        return None if self._mask is None else self._mask[:, :, :, : self.length]

    def write(self, layer: int, rows: slice, keys_and_values: torch.Tensor) -> None:
        """Store those of all tokens of R sequences that are no padding, (R, 2, heads, tokens, width)."""
        self._values[layer, rows, :, :, self.length - keys_and_values.shape[3] : self.length] = keys_and_values

    def append(self, layer: int, keys_and_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store those of the last token (N, 2, heads, width) -> all keys and values, (N, heads, length, width) each."""
        values = self._values[layer]
        values[:, :, :, self.length - 1] = keys_and_values
        keys, values = values[:, :, :, : self.length].unbind(dim=1)
        return keys, values

    def extend(self) -> None:
        """Make room for one more token, whose keys and values `append` stores."""
        capacity = self._values.shape[4]
        if self.length == capacity:
            before, more = self._values, _capacity(capacity) - capacity
            self._values = before.new_empty(*_with(before.shape, 4, capacity + more))
            self._values[:, :, :, :, :capacity] = before
            if self._mask is not None:
                self._mask = torch.nn.functional.pad(self._mask, (0, more))
        self.length += 1

    def select(self, rows: torch.Tensor) -> None:
        """Keep these sequences (M,) in this order; one may occur more than once."""
        before = self._values[:, :, :, :, : self.length]
        if len(rows) > before.shape[1]:
            self._values = self._values.new_empty(*_with(self._values.shape, 1, len(rows)))
            self._values[:, :, :, :, : self.length] = before[:, rows]
        else:
            moved = (rows != torch.arange(len(rows))).nonzero()[:, 0]
            if len(moved):  # the right side is a copy, made before anything is overwritten
                before[:, moved] = before[:, rows[moved]]
            self._values = self._values[:, : len(rows)]
        self._mask = None if self._mask is None else self._mask[rows]


def _capacity(tokens: int) -> int:
    """How many tokens to allocate for so many and some more."""
    return tokens + max(SPARE, tokens)


def _additive(mask: torch.Tensor, capacity: int) -> torch.Tensor | None:
    """mask (N, T) of ones and zeros -> (N, 1, 1, capacity) of 0 and -inf; None without padding."""
    if bool(mask.all()):
        return None
    added = torch.zeros(len(mask), 1, 1, capacity)
    added[:, 0, 0, : mask.shape[1]].masked_fill_(mask == 0, -math.inf)
    return added


def _with(shape: torch.Size, dim: int, size: int) -> list[int]:
    return [*shape[:dim], size, *shape[dim + 1 :]]
