"""Starts generation with fused layers for the models that have them.

The layers are enabled for a model only if a test batch has the logits of its own forward; any other model is left to
transformers. benchmarks/generate_speed.py measures both.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from hftool.engines import fused_gpt2, fused_t5
from hftool.engines.kv_cache import GenerationState, TorchGenerationState
from hftool.errors import ConfigError
from hftool.machine import memory_limit, total_memory

TOLERANCE = 1e-4  # largest difference of the logits from those of the model, as a share of the largest, in the test in fp32
MEMORY_SHARE = 4  # fp32 weights are copied into a faster order if the copy takes at most a quarter of the memory
ATTENTION = ("sdpa", "eager")  # implementations that compute the plain formula


class _Family(NamedTuple):
    """The fused form of one class of models.

    Args:
        module: Where transformers defines the class.
        is_supported: Whether a model of the class is plain.
        decoder: (model, precision) -> its layers.
        state: (model, layers, inputs) -> a generation.
    """

    module: str
    is_supported: Callable[[Any], bool]
    decoder: Callable[[Any, str], Any]
    state: Callable[[Any, Any, Mapping[str, torch.Tensor]], GenerationState]


FAMILIES = {
    "GPT2LMHeadModel": _Family(
        "transformers.models.gpt2.modeling_gpt2", fused_gpt2.is_supported, fused_gpt2.FusedGPT2, fused_gpt2.GPT2State
    ),
    "T5ForConditionalGeneration": _Family(
        "transformers.models.t5.modeling_t5", fused_t5.is_supported, fused_t5.FusedT5, fused_t5.T5State
    ),
    "MT5ForConditionalGeneration": _Family(
        "transformers.models.mt5.modeling_mt5", fused_t5.is_supported, fused_t5.FusedT5, fused_t5.T5State
    ),
}

_LOCK = threading.Lock()  # the weights of a model are reordered once, not by each thread of a server


def begin_fused(model: Any, inputs: Mapping[str, torch.Tensor], precision: str) -> GenerationState | None:
    """Start a generation with fused layers.

    Args:
        model: A decoder or an encoder-decoder of transformers.
        inputs: input_ids and attention_mask (B, T), padded on the left for a decoder.
        precision: fp32, bf16 or int8.

    Returns:
        The state; None for a model without fused layers, or whose logits differ in a test.

    Raises:
        DataError: A prompt has no tokens, or more than the model has positions.
        ConfigError: int8 for such a model, which has no other engine; an encoder-decoder without a start token.
    """
    model = getattr(model, "module", model)
    family = _family(model)
    decoder = None if family is None else _decoder(family, model, precision)
    if family is not None and decoder is not None:
        return family.state(model, decoder, inputs)
    if precision == "int8":
        raise ConfigError(f"this {model.config.model_type} cannot generate in int8 here", "Take bf16 or fp32")
    return None


def _family(model: Any) -> _Family | None:
    """The fused form of a plain model in fp32 on the CPU, without hooks or adapters; None for others."""
    family = FAMILIES.get(type(model).__name__)
    if family is None or type(model).__module__ != family.module or model.training or not torch._C._has_mkldnn:
        return None
    if model.config._attn_implementation not in ATTENTION or not family.is_supported(model):
        return None
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    exact = all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in model.parameters())
    return family if exact and not hooks else None


def _decoder(family: _Family, model: Any, precision: str) -> Any:
    """The layers of a model, which are tested at first; kept until its weights change."""
    with _LOCK, torch.no_grad():
        known = model.__dict__.setdefault("_hftool_fused", {})
        weights = _fingerprint(model)
        if known.get("weights") != weights:
            known.clear()
            known["weights"] = weights
            known["own"] = _tested(family, model)
        if precision not in known:
            known[precision] = known["own"] and _layers(family, model, precision, known["own"])
        return known[precision]


def _layers(family: _Family, model: Any, precision: str, own: Any) -> Any:
    """The layers in a number format; those on the model's `own` weights where a copy in fp32 would take too much memory."""
    if precision != "fp32":
        return _reordered(family, model, precision)
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    fits = MEMORY_SHARE * size <= (memory_limit() or total_memory())
    return (fits and _reordered(family, model, "packed")) or own


def _fingerprint(model: Any) -> tuple[Any, ...]:
    """What changes with the weights of a model: an update of `.data` leaves the version as it was, but not all first values."""
    return tuple((weight.data_ptr(), weight._version, weight[(0,) * weight.dim()].item()) for weight in model.parameters())


def _reordered(family: _Family, model: Any, precision: str) -> Any:
    """The layers on a copy of the weights; None where this build of torch has no such products."""
    try:
        return family.decoder(model, precision)
    except (RuntimeError, AttributeError):
        return None


def _tested(family: _Family, model: Any) -> Any:
    """The layers on the model's own weights, if a small test batch has the logits of the model's own forward; else None."""
    size = model.config.vocab_size
    mask = [[1, 1, 1], [1, 0, 0] if model.config.is_encoder_decoder else [0, 0, 1]]
    inputs = {"input_ids": torch.arange(6).view(2, 3) % size, "attention_mask": torch.tensor(mask)}
    more = torch.arange(6, 8) % size
    try:
        decoder = family.decoder(model, "fp32")
        states = family.state(model, decoder, inputs), TorchGenerationState(model, inputs)
        logits, expected = (torch.cat([state.prefill(), state.decode(more)]) for state in states)
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError):  # an unexpected architecture
        return None
    return decoder if bool((logits - expected).abs().max() <= TOLERANCE * expected.abs().max()) else None
