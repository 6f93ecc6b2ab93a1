"""Where the tokens of a padded batch lie once padding is left out, for a forward and backward pass on the CPU.

Products run on the tokens alone, (N, H); attention runs on heads of padded rows, (B, heads, T, width). N is rounded up to a
multiple of 16, so that products of fewer shapes have to be compiled: 79 instead of 299 in 600 steps on SST-2.
"""

import math

import torch

MULTIPLE = 16  # of N; the rows after the last token are zero, and so are their gradients


class TokenLayout:
    """The tokens of one batch.

    Args:
        mask: 1 at tokens and 0 at padding (B, T); at least one token in each row.
        dtype: Of the attention scores.

    Attributes:
        first: The offset of the first token of each row (B,).
    """

    def __init__(self, mask: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> None:
        self.rows, self.longest = mask.shape
        lengths = mask.sum(dim=1)
        self.tokens = int(lengths.sum())
        self.first = lengths.cumsum(0) - lengths
        self.is_padded = self.tokens < mask.numel()
        self.bias: torch.Tensor | None = None
        self.size = self.tokens
        if self.is_padded:
            self.size = -(-(self.tokens + 1) // MULTIPLE) * MULTIPLE  # at least one zero row, for the padding
            self._make_indices(mask.bool(), dtype)

    def _make_indices(self, mask: torch.Tensor, dtype: torch.dtype) -> None:
        """The indices between both forms, and the bias that excludes padding from attention."""
        self.offsets = mask.flatten().nonzero()[:, 0]  # of each token in (B * T)
        self.sources = torch.full((mask.numel(),), self.size - 1)
        self.sources[self.offsets] = torch.arange(self.tokens)
        self.targets = torch.cat([self.offsets, self.offsets.new_zeros(self.size - self.tokens)])
        bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
        self.bias = bias[:, None, None]

    def pack(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, H) -> (N, H)."""
        flat = states.flatten(0, 1)
        if not self.is_padded:
            return flat
        return torch.cat([flat.index_select(0, self.offsets), flat.new_zeros(self.size - self.tokens, flat.shape[1])])

    def unpack(self, states: torch.Tensor) -> torch.Tensor:
        """(N, H) -> (B, T, H) with zeros at padding; of first tokens alone, (B, H), with zeros at all other tokens."""
        if states.shape[0] == self.rows and self.rows != self.size:
            return torch.nn.functional.pad(states[:, None], (0, 0, 0, self.longest - 1))
        if self.is_padded:
            empty = states.new_zeros(self.rows * self.longest, states.shape[1])
            states = empty.index_copy(0, self.offsets, states[: self.tokens])
        return states.view(self.rows, self.longest, -1)

    def split_heads(self, states: torch.Tensor, heads: int) -> torch.Tensor:
        """(N, heads * width) -> (B, heads, T, width), contiguous; of first tokens, (B, heads * width), with T = 1."""
        if states.shape[0] == self.rows and self.rows != self.size:
            return states.view(self.rows, heads, 1, -1)
        if self.is_padded:
            states = states.index_select(0, self.sources)
        return states.view(self.rows, self.longest, heads, -1).transpose(1, 2).contiguous()

    def merge_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(B, heads, T, width) -> (N, heads * width), zero in the rows after the last token; with T = 1 (B, heads * width)."""
        if states.shape[2] == 1 and self.rows != self.size:
            return states.reshape(self.rows, -1)
        flat = states.transpose(1, 2).reshape(self.rows * self.longest, -1)
        if self.is_padded:
            flat = flat.index_select(0, self.targets)
            flat[self.tokens :] = 0
        return flat
