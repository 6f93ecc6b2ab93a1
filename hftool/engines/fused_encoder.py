"""The layers of a BERT or RoBERTa encoder in bfloat16, with fused products, for inference on a CPU.

The weights are converted and packed for oneDNN once. Query, key and value are one product, and bias, activation and residual
belong to the products. States, attention and norms are bfloat16 with sums in fp32, as under autocast; embeddings, pooler and
head stay in fp32. The rows come without padding: see `hftool.engines.unpadded`, whose layers these stand in for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from hftool.engines.fused_linear import ACTIVATIONS, NO_ACTIVATION

PACKED_FOR = 2048  # tokens of a batch that the packed weights are laid out for; others work, too
SHORT = 256  # tokens of a row up to which batched products are faster than the fused attention of torch
# rows are attended to together if their lengths, rounded up to this multiple, are equal: oneDNN compiles a kernel for each
# length, and the rows of a batch of the server have about 20 lengths
MULTIPLE = 32
EXPONENT = 80.0  # of which exp and its inverse are far from the largest number
DTYPE = torch.bfloat16
Groups = Sequence[tuple[int, int]]  # runs of rows of equal length: (rows, tokens of each)


class Product:
    """x W^T + b on packed weights.

    Args:
        layers: Linear layers with the same input, whose outputs are concatenated.
        activation: Name in `ACTIVATIONS`; empty for none.
        scale: Factor of the outputs of the first layer.
    """

    def __init__(self, *layers: torch.nn.Linear, activation: str = "", scale: float = 1.0) -> None:
        factors = [scale, *[1.0] * (len(layers) - 1)]
        weight = torch.cat([layer.weight.detach() * factor for layer, factor in zip(layers, factors, strict=True)]).to(DTYPE)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
        self.bias = torch.cat([layer.bias.detach() * factor for layer, factor in zip(layers, factors, strict=True)]).to(DTYPE)
        self.activation, self.algorithm = ACTIVATIONS[activation] if activation else NO_ACTIVATION

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(tokens, inputs) -> (tokens, outputs)."""
        product = torch.ops.mkldnn._linear_pointwise
        result: torch.Tensor = product(states, self.weight, self.bias, self.activation, [], self.algorithm)
        return result

    def plus(self, states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product of states (tokens, inputs), plus residual (tokens, outputs)."""
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(states, residual, self.weight, self.bias, "add")
        return result


class Norm:
    """A layer norm with bfloat16 weights."""

    def __init__(self, layer: torch.nn.LayerNorm) -> None:
        self.shape, self.eps = layer.normalized_shape, layer.eps
        self.weight, self.bias = layer.weight.detach().to(DTYPE), layer.bias.detach().to(DTYPE)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(tokens, H) -> (tokens, H)."""
        return torch.nn.functional.layer_norm(states, self.shape, self.weight, self.bias, self.eps)


class Layer:
    """One layer: attention and feed-forward, each with its residual and norm."""

    def __init__(self, layer: Any, activation: str) -> None:
        attention, own = layer.attention, layer.attention.self
        self.heads = own.num_attention_heads
        self.query_key_value = Product(own.query, own.key, own.value, scale=own.attention_head_size**-0.5)
        self.attention_output = Product(attention.output.dense)
        self.attention_norm = Norm(attention.output.LayerNorm)
        self.intermediate = Product(layer.intermediate.dense, activation=activation)
        self.output = Product(layer.output.dense)
        self.output_norm = Norm(layer.output.LayerNorm)

    def __call__(self, states: torch.Tensor, blocks: "Sequence[Block]") -> torch.Tensor:
        """States (tokens, H) of concatenated rows -> (tokens, H)."""
        return self.feed_forward(attend(self.query_key_value(states), blocks, self.heads), states)

    def feed_forward(self, attended: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The output of the layer for tokens (N, H) that it has attended for."""
        states = self.attention_norm(self.attention_output.plus(attended, states))
        return self.output_norm(self.output.plus(self.intermediate(states), states))


class FirstTokenAttention:
    """Attention of the first token of each row, without keys and values of the others.

    q (K x + b) is (q K) x but for a number that all tokens share, and the weighted sum of V x + b is V on the weighted sum of
    x, plus b.
    """

    def __init__(self, own: Any) -> None:
        heads, width = own.num_attention_heads, own.attention_head_size
        self.heads, self.query = heads, Product(own.query, scale=width**-0.5)
        self.key = own.key.weight.detach().to(DTYPE).view(heads, width, -1)
        self.value = own.value.weight.detach().to(DTYPE).view(heads, width, -1).transpose(1, 2).contiguous()
        self.value_bias = own.value.bias.detach().to(DTYPE).view(heads, 1, width)

    def __call__(self, states: torch.Tensor, blocks: "Sequence[Block]", first: torch.Tensor) -> torch.Tensor:
        """States (tokens, H) of concatenated rows whose first tokens are at `first` (B,) -> (B, H)."""
        query = self.query(states[first]).view(len(first), self.heads, -1).transpose(0, 1)
        query = torch.bmm(query, self.key).transpose(0, 1).contiguous()
        mixed = torch.empty_like(query)
        row = 0
        for block in blocks:
            own, end = block.padded(states).view(block.rows, block.length, -1), row + block.rows
            scores = torch.bmm(query[row:end], own.transpose(1, 2))
            if block.bias is not None:
                scores += block.bias[:, 0]
            mixed[row:end] = torch.bmm(torch.softmax(scores, dim=-1, dtype=torch.float32).to(DTYPE), own)
            row = end
        values = torch.baddbmm(self.value_bias, mixed.transpose(0, 1), self.value)
        return values.transpose(0, 1).reshape(len(first), -1)


@dataclass(frozen=True)
class Block:
    """Consecutive rows of similar length, padded to the longest for attention.

    Attributes:
        start, end: Offsets of their tokens in the batch.
        rows, length: Number of rows, and tokens of each once padded.
        sources: The offset in the batch of each padded token (rows * length,); None without padding.
        targets: The offset in the padded rows of each token (end - start,).
        bias: Excludes the padding from attention (rows, 1, 1, length).
    """

    start: int
    end: int
    rows: int
    length: int
    sources: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    bias: torch.Tensor | None = None

    @classmethod
    def of(cls, lengths: Sequence[int], start: int) -> "Block":
        """The block of rows with these lengths, of which the first has its first token at `start`."""
        longest, end = max(lengths), start + sum(lengths)
        if min(lengths) == longest:
            return cls(start, end, len(lengths), longest)
        counts = torch.tensor(lengths)[:, None]
        positions = torch.arange(longest)
        is_token = positions < counts
        sources = torch.where(is_token, start + counts.cumsum(0) - counts + positions, start).flatten()
        bias = torch.zeros(is_token.shape, dtype=DTYPE).masked_fill_(~is_token, -math.inf)[:, None, None]
        return cls(start, end, len(lengths), longest, sources, is_token.flatten().nonzero()[:, 0], bias)

    def padded(self, states: torch.Tensor) -> torch.Tensor:
        """States (tokens, N) of the batch -> of the padded rows (rows * length, N)."""
        return states[self.start : self.end] if self.sources is None else states.index_select(0, self.sources)


def blocks_of(groups: Groups) -> list[Block]:
    """The blocks in which a batch is attended to."""
    lengths = [length for rows, length in groups for _ in range(rows)]
    blocks: list[Block] = []
    for _, similar in groupby(lengths, key=lambda length: -(-length // MULTIPLE)):
        blocks.append(Block.of(list(similar), blocks[-1].end if blocks else 0))
    return blocks


def attend(query_key_value: torch.Tensor, blocks: Sequence[Block], heads: int) -> torch.Tensor:
    """Attention of each row to itself: (tokens, 3 H) of concatenated rows, queries scaled -> (tokens, H)."""
    tokens, width = query_key_value.shape[0], query_key_value.shape[1] // 3 // heads
    result = query_key_value.new_empty(tokens, heads * width)
    for block in blocks:
        parts = block.padded(query_key_value).view(block.rows, block.length, 3, heads, width).permute(2, 0, 3, 1, 4)
        if block.length <= SHORT:
            attended = attend_short(parts, block.bias)
        else:
            query, key, value = parts
            attention = torch.nn.functional.scaled_dot_product_attention
            attended = attention(query, key, value, attn_mask=block.bias, scale=1.0)
        attended, target = attended.transpose(1, 2), result[block.start : block.end]
        if block.targets is None:
            target.view(attended.shape).copy_(attended)
        else:
            torch.index_select(attended.reshape(-1, heads * width), 0, block.targets, out=target)
    return result


def attend_short(parts: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Attention of short rows by batched products.

    Args:
        parts: Queries, keys, values (3, rows, heads, length, width).
        bias: Added to the scores (rows, 1, 1, length).

    Returns:
        As the values: (rows, heads, length, width).
    """
    query, key, value = parts.flatten(1, 2)
    scores = torch.bmm(query, key.transpose(1, 2))
    low, high = torch.aminmax(scores)
    if bias is not None:
        scores.view(*parts.shape[1:4], -1).add_(bias)
    if low > -EXPONENT and high < EXPONENT:  # no exponential of a token is infinite or 0: the largest need not be subtracted
        weights = scores.exp_()
        attended = torch.bmm(weights, value).div_(torch.matmul(weights, weights.new_ones(weights.shape[-1], 1)))
    else:
        attended = torch.bmm(torch.softmax(scores, dim=-1, dtype=torch.float32).to(DTYPE), value)
    return attended.view(parts.shape[1:])


@dataclass(frozen=True)
class FusedEncoder:
    """The layers of an encoder."""

    layers: tuple[Layer, ...]
    first_tokens: FirstTokenAttention  # of the last layer

    @classmethod
    def of(cls, model: Any) -> "FusedEncoder | None":
        """The encoder of a model; None where its layers are not those of BERT and RoBERTa, or torch lacks the products."""
        config, encoder = model.config, getattr(model.base_model, "encoder", None)
        if getattr(config, "hidden_act", None) not in ACTIVATIONS:
            return None
        try:
            if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
                return None
            layers = encoder.layer  # type: ignore[union-attr]
            return cls(
                tuple(Layer(layer, config.hidden_act) for layer in layers), FirstTokenAttention(layers[-1].attention.self)
            )
        except (AttributeError, RuntimeError, TypeError):  # other layers, such as LoRA's, or a torch without oneDNN
            return None

    def __call__(self, states: torch.Tensor, groups: Groups, first: torch.Tensor | None = None) -> torch.Tensor:
        """Run the layers.

        Args:
            states: The embeddings of concatenated rows (tokens, H), in fp32.
            groups: Runs of rows of equal length.
            first: The offset of each row (B,), if only its first token is read after the last layer.

        Returns:
            The states in fp32: (tokens, H), or (B, H) of first tokens.
        """
        states, blocks = states.to(DTYPE), blocks_of(groups)
        for layer in self.layers[:-1]:
            states = layer(states, blocks)
        last = self.layers[-1]
        if first is None:
            return last(states, blocks).float()
        return last.feed_forward(self.first_tokens(states, blocks, first), states[first]).float()


@dataclass(frozen=True)
class FusedModel:
    """A fused encoder for the layers of a model, and the tolerance of its outputs, an absolute error."""

    encoder: FusedEncoder
    tolerance: float
