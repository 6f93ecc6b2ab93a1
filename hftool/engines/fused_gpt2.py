"""GPT-2 generation on the CPU with fused linear layers and a preallocated key-value cache.

A step of transformers spends most of its time outside of the matrix products, or in products on a layout of the weights that is
slow for few rows. Here a layer is about 20 calls into torch. Prompts are computed without padding.
benchmarks/generate_speed.py measures it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from hftool.engines.fused_linear import ACTIVATIONS, FORMATS, FusedLinear
from hftool.engines.kv_cache import end_ids, remaining_positions
from hftool.engines.preallocated_cache import PreallocatedCache

Attend = Callable[[int, torch.Tensor, float], torch.Tensor]  # layer, q, k and v (M, 3, heads, width), scale -> (M, H)


class _Norm(NamedTuple):
    """A layer norm."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self.weight.shape, *self)


@dataclass(frozen=True)
class _Layer:
    norm_1: _Norm
    qkv: FusedLinear
    attention_output: FusedLinear
    scale: float
    norm_2: _Norm
    mlp_input: FusedLinear
    mlp_output: FusedLinear


class FusedGPT2:
    """The layers of a GPT-2 in the order of a forward pass.

    Args:
        model: A GPT2LMHeadModel that `is_supported`.
        precision: fp32, packed (fp32, too), bf16 or int8; fp32 alone copies no weights.

    Raises:
        RuntimeError: This build of torch has no such products.
    """

    def __init__(self, model: Any, precision: str) -> None:
        linear, body, activation = FORMATS[precision], model.transformer, ACTIVATIONS[model.config.activation_function]
        self.heads, self.width = body.h[0].attn.num_heads, body.h[0].attn.head_dim
        self._tokens, self._positions, self._norm = body.wte.weight, body.wpe.weight, _norm(body.ln_f)
        self._head: FusedLinear = linear(model.lm_head.weight, None)
        self.layers = [
            _Layer(
                _norm(block.ln_1),
                linear(block.attn.c_attn.weight.t(), block.attn.c_attn.bias),
                linear(block.attn.c_proj.weight.t(), block.attn.c_proj.bias),
                block.attn.scaling,
                _norm(block.ln_2),
                linear(block.mlp.c_fc.weight.t(), block.mlp.c_fc.bias, activation),
                linear(block.mlp.c_proj.weight.t(), block.mlp.c_proj.bias),
            )
            for block in body.h
        ]

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run tokens (M,) at positions (M,) -> logits float32 after each of them (M, V), or after some: rows (R,) -> (R, V)."""
        x = F.embedding(tokens, self._tokens) + F.embedding(positions, self._positions)
        for i, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.norm_1(x)).float().view(-1, 3, self.heads, self.width)
            x = layer.attention_output.add_to(x, attend(i, qkv, layer.scale))
            x = layer.mlp_output.add_to(x, layer.mlp_input(layer.norm_2(x)))
        return self._head(self._norm(x if rows is None else x[rows])).float()


class GPT2State:
    """A generation by a `FusedGPT2`. See `hftool.engines.kv_cache.GenerationState`.

    Args:
        model: The GPT-2, for its end tokens and number of positions.
        decoder: Its layers.
        inputs: input_ids and attention_mask (B, T) on the CPU, padded on the left.

    Raises:
        DataError: A prompt has no tokens, or more than the model has positions.
    """

    def __init__(self, model: Any, decoder: FusedGPT2, inputs: Mapping[str, torch.Tensor]) -> None:
        self._decoder = decoder
        self._ids, self._mask = inputs["input_ids"], inputs["attention_mask"].bool()
        self._next = self._mask.sum(dim=1)  # (N,): the position of the next token of each sequence
        self.end_ids = end_ids(model)
        self.max_remaining = remaining_positions(model.config, self._next.tolist())
        if not bool(self._mask[:, -1].all()):
            raise ValueError("a decoder continues its prompts: pad them on the left")
        self._cache = PreallocatedCache(self._mask, len(decoder.layers), decoder.heads, decoder.width)

    @torch.no_grad()
    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. Prompts are computed once, however many copies there are, and without padding."""
        mask, lengths = self._mask, self._next
        positions = (mask.cumsum(dim=1) - 1)[mask]
        logits = self._decoder.forward(self._ids[mask], positions, self._attend_to_prompt, lengths.cumsum(0) - 1)
        if copies > 1:
            self._select(torch.arange(len(mask)).repeat_interleave(copies))
            logits = logits.repeat_interleave(copies, dim=0)
        return logits

    @torch.no_grad()
    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """See `GenerationState.decode`."""
        if rows is not None:
            self._select(rows)
        self._cache.extend()
        logits = self._decoder.forward(tokens, self._next, self._attend_to_cache)
        self._next = self._next + 1
        return logits

    def _select(self, rows: torch.Tensor) -> None:
        self._cache.select(rows)
        self._next = self._next[rows]

    def _attend_to_cache(self, layer: int, qkv: torch.Tensor, scale: float) -> torch.Tensor:
        """One token of each sequence: (N, 3, heads, width) -> (N, heads * width)."""
        keys, values = self._cache.append(layer, qkv[:, 1:])
        query = qkv[:, 0, :, None]
        return F.scaled_dot_product_attention(query, keys, values, self._cache.mask, scale=scale).view(len(qkv), -1)

    def _attend_to_prompt(self, layer: int, qkv: torch.Tensor, scale: float) -> torch.Tensor:
        """All tokens of all prompts, one prompt after the other: (M, 3, heads, width) -> (M, heads * width)."""
        result = qkv.new_empty(len(qkv), qkv.shape[2] * qkv.shape[3])
        row = start = 0
        for count, length in _groups(self._next.tolist()):
            end = start + count * length
            group = qkv[start:end].view(count, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            self._cache.write(layer, slice(row, row + count), group[1:].transpose(0, 1))
            query, keys, values = group
            attended = F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale)
            result[start:end].view(count, length, *qkv.shape[2:]).copy_(attended.transpose(1, 2))
            row, start = row + count, end
        return result


def is_supported(model: Any) -> bool:
    """Whether the modules of a GPT2LMHeadModel are those of transformers."""
    config = model.config
    products = [
        module
        for block in model.transformer.h
        for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    ]
    if config.add_cross_attention or config.activation_function not in ACTIVATIONS:
        return False
    plain_head = type(model.lm_head) is torch.nn.Linear and model.lm_head.bias is None
    return plain_head and all(type(module).__name__ == "Conv1D" for module in products)


def _norm(module: Any) -> _Norm:
    return _Norm(module.weight, module.bias, module.eps)


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of prompts of equal length: (number of prompts, length)."""
    return [(len(list(group)), length) for length, group in groupby(lengths)]
