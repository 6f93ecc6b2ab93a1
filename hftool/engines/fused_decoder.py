"""GPT-2 generation on the CPU with fused linear layers and a preallocated key-value cache.

A step of transformers spends most of its time outside of the matrix products, or in products on a layout of the weights that is
slow for few rows. Here a layer is about 20 calls into torch. Prompts are computed without padding.
benchmarks/generate_speed.py measures it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from hftool.engines.fused_linear import FORMATS, FusedLinear
from hftool.engines.kv_cache import TorchGenerationState, end_ids, remaining_positions
from hftool.engines.preallocated_cache import PreallocatedCache
from hftool.errors import ConfigError

TOLERANCE = 1e-4  # largest difference of the logits from those of the model, as a share of the largest, in the test in fp32
GELU = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}  # by activation_function of the config
ATTENTION = ("sdpa", "eager")  # implementations that compute the plain formula

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


class FusedDecoder:
    """The layers of a GPT-2 in the order of a forward pass.

    Args:
        model: A GPT2LMHeadModel whose structure `_is_plain`.
        precision: fp32, bf16 or int8; fp32 copies no weights.

    Raises:
        RuntimeError: This build of torch has no such products.
    """

    def __init__(self, model: Any, precision: str) -> None:
        linear, body, gelu = FORMATS[precision], model.transformer, GELU[model.config.activation_function]
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
                linear(block.mlp.c_fc.weight.t(), block.mlp.c_fc.bias, gelu),
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


class FusedGenerationState:
    """A generation by a `FusedDecoder`. See `hftool.engines.kv_cache.GenerationState`.

    Args:
        model: The GPT-2, for its end tokens and number of positions.
        decoder: Its layers.
        inputs: input_ids and attention_mask (B, T) on the CPU, padded on the left.

    Raises:
        DataError: A prompt has no tokens, or more than the model has positions.
    """

    def __init__(self, model: Any, decoder: FusedDecoder, inputs: Mapping[str, torch.Tensor]) -> None:
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


def begin_fused(model: Any, inputs: Mapping[str, torch.Tensor], precision: str) -> FusedGenerationState | None:
    """Start a generation with fused layers.

    Args:
        model: A decoder or an encoder-decoder of transformers.
        inputs: input_ids and attention_mask (B, T), padded on the left for a decoder.
        precision: fp32, bf16 or int8.

    Returns:
        The state; None for a model that is no plain GPT-2 on the CPU, or whose logits differ in a test.

    Raises:
        DataError: A prompt has no tokens, or more than the model has positions.
        ConfigError: int8 for such a model, which has no other engine.
    """
    model = getattr(model, "module", model)
    decoder = _fused_decoder(model, precision) if _is_plain(model) else None
    if decoder is not None:
        return FusedGenerationState(model, decoder, inputs)
    if precision == "int8":
        raise ConfigError(f"this {model.config.model_type} cannot generate in int8 here", "Take bf16 or fp32")
    return None


_LOCK = threading.Lock()  # the weights of a model are reordered once, not by each thread of a server


def _fused_decoder(model: Any, precision: str) -> FusedDecoder | None:
    """The decoder of a model, which is tested at first; kept until its weights change."""
    with _LOCK, torch.no_grad():
        known = model.__dict__.setdefault("_hftool_fused", {})
        weights = tuple((weight.data_ptr(), weight._version) for weight in model.parameters())
        if known.get("weights") != weights:
            known.clear()
            known["weights"] = weights
        if precision not in known:
            exact = known.get("fp32") or _tested(model)
            known["fp32"] = exact
            known[precision] = exact if exact is None or precision == "fp32" else _reordered(model, precision)
        return known[precision]  # type: ignore[no-any-return]


def _reordered(model: Any, precision: str) -> FusedDecoder | None:
    """The decoder in bf16 or int8; None where this build of torch has no such products."""
    try:
        return FusedDecoder(model, precision)
    except (RuntimeError, AttributeError):
        return None


def _tested(model: Any) -> FusedDecoder | None:
    """The decoder in fp32, if a small test batch has the logits of the model's own forward."""
    size = model.config.vocab_size
    inputs = {"input_ids": torch.arange(6).view(2, 3) % size, "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 1]])}
    more = torch.arange(6, 8) % size
    try:
        decoder = FusedDecoder(model, "fp32")
        states = FusedGenerationState(model, decoder, inputs), TorchGenerationState(model, inputs)
        logits, expected = (torch.cat([state.prefill(), state.decode(more)]) for state in states)
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError):  # an unexpected architecture
        return None
    return decoder if bool((logits - expected).abs().max() <= TOLERANCE * expected.abs().max()) else None


def _is_plain(model: Any) -> bool:
    """Whether a model is a GPT-2 in fp32 on the CPU whose modules are those of transformers, without hooks or adapters."""
    if type(model).__name__ != "GPT2LMHeadModel" or not type(model).__module__.startswith("transformers.models.gpt2."):
        return False
    config = model.config
    if model.training or config.add_cross_attention or config.activation_function not in GELU:
        return False
    if config._attn_implementation not in ATTENTION or not torch._C._has_mkldnn:
        return False
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    kinds = all(type(module).__name__ == "Conv1D" for module in _products(model)) and type(model.lm_head) is torch.nn.Linear
    weights = all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in model.parameters())
    return not hooks and kinds and weights and model.lm_head.bias is None


def _products(model: Any) -> Iterator[Any]:
    for block in model.transformer.h:
        yield from (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)


def _norm(module: Any) -> _Norm:
    return _Norm(module.weight, module.bias, module.eps)


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of prompts of equal length: (number of prompts, length)."""
    return [(len(list(group)), length) for length, group in groupby(lengths)]
