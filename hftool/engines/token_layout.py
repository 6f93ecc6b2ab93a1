"""Where the tokens of a padded batch lie once padding is left out, for a forward and backward pass on the CPU.

Products run on the tokens alone, (N, H); attention runs on heads of padded rows, (B, heads, T, width). N is rounded up to a
multiple of 16, so that products of fewer shapes have to be compiled: 79 instead of 299 in 600 steps on SST-2.
"""

import math

import torch

MULTIPLE = 16  # of N; the rows after the last token are zero, and so are their gradients
SHORT = 48  # with fewer keys, softmax over the first dimension is up to 12 times as fast as over the last one


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
        self.keys_first = self.longest < SHORT
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
        self.bias = bias.t().contiguous()[:, :, None, None] if self.keys_first else bias[:, None, None]

    def pack(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, H) -> (N, H)."""
        flat = states.flatten(0, 1)
        if not self.is_padded:
            return flat
        return torch.cat([flat.index_select(0, self.offsets), flat.new_zeros(self.size - self.tokens, flat.shape[1])])

    def unpack(self, states: torch.Tensor) -> torch.Tensor:
        """(N, H) -> (B, T, H) with zeros at padding; of first tokens alone, (B, H), with zeros at all other tokens."""
        if self.has_first_only(states):
            return torch.nn.functional.pad(states[:, None], (0, 0, 0, self.longest - 1))
        if self.is_padded:
            empty = states.new_zeros(self.rows * self.longest, states.shape[1])
            states = empty.index_copy(0, self.offsets, states[: self.tokens])
        return states.view(self.rows, self.longest, -1)

    def split_heads(self, states: torch.Tensor, heads: int, parts: int = 1) -> torch.Tensor:
        """(N, parts * heads * width) -> (parts * B, heads, T, width), contiguous; of first tokens, (B, ...), with T = 1."""
        longest = self.longest
        if self.has_first_only(states):
            longest = 1
        elif self.is_padded:
            states = states.index_select(0, self.sources)
        split = states.view(self.rows, longest, parts, heads, -1).permute(2, 0, 3, 1, 4)
        return split.reshape(parts * self.rows, heads, longest, -1).contiguous()

    def merge_heads(self, states: torch.Tensor, parts: int = 1) -> torch.Tensor:
        """(parts * B, heads, T, width) -> (N, parts * heads * width), zero after the last token; with T = 1 of first tokens."""
        _, heads, longest, width = states.shape
        flat = states.view(parts, self.rows, heads, longest, width).permute(1, 3, 0, 2, 4).reshape(self.rows * longest, -1)
        if self.is_padded and (longest > 1 or self.rows == self.size):
            flat = flat.index_select(0, self.targets)
            flat[self.tokens :] = 0
        return flat

    def has_first_only(self, states: torch.Tensor) -> bool:
        """Whether these are states of first tokens alone, (B, H)."""
        return states.shape[0] == self.rows and self.rows != self.size

    @property
    def key_dimension(self) -> int:
        """The dimension of the keys in scores."""
        return 0 if self.keys_first else -1

    def to_scores(self, products: torch.Tensor) -> torch.Tensor:
        """(B, heads, queries, keys) -> the layout in which softmax is fast: (keys, B, heads, queries) for short rows."""
        return products.permute(3, 0, 1, 2).contiguous() if self.keys_first else products

    def from_scores(self, scores: torch.Tensor) -> torch.Tensor:
        """The reverse of `to_scores`."""
        return scores.permute(1, 2, 3, 0).contiguous() if self.keys_first else scores
