"""T5 generation on the CPU with fused linear layers in the decoder, a preallocated cache and the prompts' keys and values."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from hftool.engines.fused_linear import ACTIVATIONS, FORMATS, FusedLinear
from hftool.engines.kv_cache import end_ids, remaining_positions, start_id
from hftool.engines.preallocated_cache import PreallocatedCache

# layer, query (N, heads, 1, width) and keys and values (N, 2, heads, width) or None after the encoder -> (N, heads * width)
Attend = Callable[[int, torch.Tensor, torch.Tensor | None], torch.Tensor]


class _Norm:
    """An RMS norm times a scale, in half the time that torch.nn.functional.rms_norm takes for few rows."""

    def __init__(self, module: Any, scale: float = 1.0) -> None:
        size = module.weight.shape[0]
        self._weight: torch.Tensor = module.weight * (scale * size**0.5)
        self._least = torch.tensor((size * module.variance_epsilon) ** 0.5)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H) -> (N, H)."""
        length: torch.Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return (x / length.hypot_(self._least)).mul_(self._weight)


@dataclass(frozen=True)
class _Layer:
    """gate: of a gated feed-forward layer, as in T5 1.1."""

    norm_1: _Norm
    qkv: FusedLinear
    self_output: FusedLinear
    norm_2: _Norm
    query: FusedLinear
    prompt_kv: FusedLinear
    cross_output: FusedLinear
    norm_3: _Norm
    gate: FusedLinear | None
    mlp_input: FusedLinear
    mlp_output: FusedLinear


class FusedT5:
    """The layers of a T5 decoder in the order of a forward pass.

    Args:
        model: A T5ForConditionalGeneration that `is_supported`.
        precision: fp32, packed (fp32, too), bf16 or int8; fp32 alone copies no weights.

    Raises:
        RuntimeError: This build of torch has no such products.
    """

    def __init__(self, model: Any, precision: str) -> None:
        linear, body, config = FORMATS[precision], model.decoder, model.config
        self.heads, self.width = config.num_heads, config.d_kv
        scale = config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0
        self._tokens, self._norm = body.embed_tokens.weight, _Norm(body.final_layer_norm, scale)
        self._head: FusedLinear = linear(model.lm_head.weight, None)
        self._bias = body.block[0].layer[0].SelfAttention
        self.layers = [_layer(block.layer, linear, ACTIVATIONS[config.dense_act_fn]) for block in body.block]

    def prompt(self, encoded: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The encoder's output (B, S, H) -> keys and values (B, heads, S, width) of each layer."""
        flat, shape = encoded.flatten(0, 1), (*encoded.shape[:2], 2, self.heads, self.width)
        layers = (layer.prompt_kv(flat).float().view(shape).permute(2, 0, 3, 1, 4).contiguous() for layer in self.layers)
        return [(keys, values) for keys, values in layers]

    def position_bias(self, length: int) -> torch.Tensor:
        """What is added to the attention scores of the last of `length` tokens, (1, heads, 1, length)."""
        return self._bias.compute_bias(1, length, past_seen_tokens=length - 1).contiguous()  # type: ignore[no-any-return]

    def forward(self, tokens: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Run one token of each sequence (N,) -> logits (N, V) float32 after it."""
        x = F.embedding(tokens, self._tokens)
        for i, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.norm_1(x)).float().view(-1, 3, self.heads, self.width)
            x = layer.self_output.add_to(x, attend(i, qkv[:, 0, :, None], qkv[:, 1:]))
            query = layer.query(layer.norm_2(x)).float().view(-1, self.heads, 1, self.width)
            x = layer.cross_output.add_to(x, attend(i, query, None))
            inner = layer.norm_3(x)
            hidden = layer.mlp_input(inner)
            x = layer.mlp_output.add_to(x, hidden if layer.gate is None else hidden * layer.gate(inner))
        return self._head(self._norm(x)).float()


class T5State:
    """A generation by a `FusedT5`. See `hftool.engines.kv_cache.GenerationState`.

    Args:
        model: The T5, whose encoder reads the prompts in fp32.
        decoder: Its decoder.
        inputs: input_ids and attention_mask (B, T) on the CPU.

    Raises:
        DataError: A prompt has no tokens.
    """

    def __init__(self, model: Any, decoder: FusedT5, inputs: Mapping[str, torch.Tensor]) -> None:
        self._model, self._decoder = model, decoder
        self._ids, self._mask = inputs["input_ids"], inputs["attention_mask"]
        self.end_ids = end_ids(model)
        self.max_remaining = remaining_positions(model.config, self._mask.sum(dim=1).tolist())
        self._prompts = torch.arange(len(self._mask))  # (N,): the prompt of each sequence
        self._prompt_mask = torch.zeros(self._mask.shape).masked_fill_(self._mask == 0, -math.inf)[:, None, None]
        self._keys_and_values: list[tuple[torch.Tensor, torch.Tensor]] = []  # of the prompts, (N, heads, T, width) each
        empty = self._mask.new_ones(len(self._mask), 0)
        self._cache = PreallocatedCache(empty, len(decoder.layers), decoder.heads, decoder.width)
        self._bias = decoder.position_bias(1)

    @torch.no_grad()
    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. Prompts are computed once, however many copies there are."""
        encoded = self._model.get_encoder()(input_ids=self._ids, attention_mask=self._mask)[0]
        self._keys_and_values = self._decoder.prompt(encoded)
        logits = self._step(torch.full((len(self._ids),), start_id(self._model)))
        if copies > 1:
            self._select(torch.arange(len(logits)).repeat_interleave(copies))
            logits = logits.repeat_interleave(copies, dim=0)
        return logits

    @torch.no_grad()
    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """See `GenerationState.decode`."""
        if rows is not None:
            self._select(rows)
        return self._step(tokens)

    def _step(self, tokens: torch.Tensor) -> torch.Tensor:
        self._cache.extend()
        if self._bias.shape[3] < self._cache.length:  # the bias depends on the distance: that of a longer text ends with it
            self._bias = self._decoder.position_bias(2 * self._cache.length)
        return self._decoder.forward(tokens, self._attend)

    def _select(self, rows: torch.Tensor) -> None:
        self._cache.select(rows)
        prompts = self._prompts[rows]
        if torch.equal(prompts, self._prompts):  # beams of a prompt are reordered
            return
        self._prompts, self._prompt_mask = prompts, self._prompt_mask[rows]
        self._keys_and_values = [(keys[rows], values[rows]) for keys, values in self._keys_and_values]

    def _attend(self, layer: int, query: torch.Tensor, keys_and_values: torch.Tensor | None) -> torch.Tensor:
        """See `Attend`."""
        if keys_and_values is None:
            (keys, values), mask = self._keys_and_values[layer], self._prompt_mask
        else:
            keys, values = self._cache.append(layer, keys_and_values)
            mask = self._bias[:, :, :, self._bias.shape[3] - keys.shape[2] :]
        return F.scaled_dot_product_attention(query, keys, values, mask, scale=1.0).view(len(query), -1)


def is_supported(model: Any) -> bool:
    """Whether the modules of a T5ForConditionalGeneration are those of transformers."""
    products = [model.lm_head]
    for block in model.decoder.block:
        self_attention, cross_attention, mlp = block.layer
        for attention in (self_attention.SelfAttention, cross_attention.EncDecAttention):
            products += [attention.q, attention.k, attention.v, attention.o]
        products += mlp.DenseReluDense.children()
    linear = [module for module in products if module is not None and not _is_harmless(module)]
    return model.config.dense_act_fn in ACTIVATIONS and all(
        type(module) is torch.nn.Linear and module.bias is None for module in linear
    )


def _is_harmless(module: torch.nn.Module) -> bool:
    """Dropout, which does nothing here, and activations, which the test batch checks."""
    return not any(True for _ in module.parameters())


def _layer(layers: Any, linear: Any, activation: tuple[str, str]) -> _Layer:
    """The layers of a block: self-attention, attention to the prompt, feed-forward."""
    own, cross, mlp = layers[0].SelfAttention, layers[1].EncDecAttention, layers[2].DenseReluDense
    gated = hasattr(mlp, "wi_0")
    return _Layer(
        _Norm(layers[0].layer_norm),
        linear(torch.cat([own.q.weight, own.k.weight, own.v.weight]), None),
        linear(own.o.weight, None),
        _Norm(layers[1].layer_norm),
        linear(cross.q.weight, None),
        linear(torch.cat([cross.k.weight, cross.v.weight]), None),
        linear(cross.o.weight, None),
        _Norm(layers[2].layer_norm),
        linear(mlp.wi_1.weight, None) if gated else None,
        linear(mlp.wi_0.weight if gated else mlp.wi.weight, None, activation),
        linear(mlp.wo.weight, None),
    )
