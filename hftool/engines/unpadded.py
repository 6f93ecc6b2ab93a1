"""Unpadded (varlen) encoder forward on the CPU, equal to the padded one up to fp32 rounding.

The rows of a batch are concatenated without padding between embeddings and head; attention runs on each row separately, on
consecutive rows of equal length together. Heads get the same outputs. transformers has this for causal models only: its masks
for encoders ignore positions (`masking_utils.create_bidirectional_mask`), so that rows would attend to each other.

Where a model uses only the first token of each row, as classifiers do, the last layer computes only that token after its keys
and values. Both are enabled for a model only if a test batch gives the same outputs. In between run its own layers, or a
`FusedEncoder`.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from hftool.engines.fused_encoder import FusedEncoder

NAME = "hftool_packed"  # of the attention function in transformers' registry
TOLERANCE = 1e-4  # largest difference from the padded outputs, as a share of the largest output, in the test
# the batch of this thread: mask (B, T), groups of (rows, tokens of each), the offset of each row (B,), and the layers to run
_BATCH = threading.local()


def supports_unpadding(model: Any) -> bool:
    """Prepare a model for unpadded batches, once -> whether it supports them.

    A small test batch decides; a model whose outputs differ from the padded ones is left unchanged.
    """
    known = getattr(model, "_hftool_packs", None)
    if known is None:
        known = model._hftool_packs = _install(model)
    return bool(known)


@contextlib.contextmanager
def without_padding(mask: torch.Tensor, fused: FusedEncoder | None = None) -> Iterator[None]:
    """Within the block, batches with this mask (B, T), padded on the right, run without padding.

    Args:
        mask: Attention mask (B, T).
        fused: Runs in place of the layers of the model.
    """
    lengths = mask.sum(dim=1)
    _BATCH.mask, _BATCH.groups, _BATCH.offsets = mask.bool(), _groups(lengths.tolist()), lengths.cumsum(0) - lengths
    _BATCH.fused = fused
    try:
        yield
    finally:
        _BATCH.mask = _BATCH.groups = _BATCH.offsets = _BATCH.fused = None


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of rows of equal length: (number of rows, length)."""
    return [(len(list(group)), length) for length, group in groupby(lengths)]


def _install(model: Any) -> bool:
    config, body = model.config, getattr(model, "base_model", None)
    layers = getattr(body, "encoder", None)
    generates = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if generates or layers is None or config._attn_implementation != "sdpa" or model.device.type != "cpu":
        return False
    _register()
    before = config._attn_implementation
    handles = [layers.register_forward_pre_hook(_unpad, with_kwargs=True), layers.register_forward_hook(_pad, with_kwargs=True)]
    try:
        model.set_attn_implementation(NAME)
        if _is_equal(model):
            first_only = _first_token_only(model, layers)
            layers.forward = _fused_or_own(layers.forward, first_only)
            return True
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError):  # an unexpected architecture
        pass
    for handle in handles:
        handle.remove()
    model.set_attn_implementation(before)
    return False


def _first_token_only(model: Any, layers: Any) -> bool:
    """Compute only the first tokens in the last layer, if the outputs of the model stay the same -> whether they do."""
    try:
        handle = layers.layer[-1].attention.output.register_forward_pre_hook(_select_first)
    except AttributeError:  # its layers have other names
        return False
    try:
        if _is_equal(model):
            return True
    except (RuntimeError, ValueError, TypeError, LookupError):
        pass
    handle.remove()
    return False


def _fused_or_own(own: Any, first_only: bool) -> Any:
    """The forward of the layers of a model: the fused encoder of the batch of this thread, if it has one, else their own."""
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    @functools.wraps(own)
    def _forward(*args: Any, **kwargs: Any) -> Any:
        fused: FusedEncoder | None = getattr(_BATCH, "fused", None)
        if fused is None:
            return own(*args, **kwargs)
        states = (args[0] if args else kwargs["hidden_states"])[0]
        result = fused(states, _BATCH.groups, _BATCH.offsets if first_only else None)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=result[None])

    return _forward


def _is_equal(model: Any) -> bool:
    """Whether a small batch of rows of different lengths has the same outputs with and without padding."""
    mask = (torch.arange(9)[None] < torch.tensor([9, 4, 4, 1])[:, None]).long()
    batch = {"input_ids": torch.arange(36).view(4, 9) % model.config.vocab_size, "attention_mask": mask}
    with torch.inference_mode():
        padded = model(**batch)[0]
        with without_padding(mask):
            outputs = model(**batch)[0]
    if padded.shape[:2] == mask.shape:  # the outputs at padding are meaningless
        padded, outputs = padded[mask.bool()], outputs[mask.bool()]
    return bool((padded - outputs).abs().max() <= TOLERANCE * padded.abs().max())


def _register() -> None:
    """Register our attention, with the masks of sdpa for padded batches."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """(1, heads, tokens, width) each -> (1, tokens, heads, width): each row attends to itself alone."""
    groups = getattr(_BATCH, "groups", None)
    if groups is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        padded: Any = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, dropout=dropout, **more)
        return padded  # type: ignore[no-any-return]
    heads, width = query.shape[1], query.shape[3]
    result = query.new_empty(query.shape[2], heads, width)
    start = 0
    for rows, tokens in groups:
        end = start + rows * tokens
        q, k, v = (part[0, :, start:end].view(heads, rows, tokens, width).transpose(0, 1) for part in (query, key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        result[start:end].view(rows, tokens, heads, width).copy_(attended.transpose(1, 2))
        start = end
    return result[None], None


def _unpad(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(B, T, H) -> (1, tokens, H)."""
    mask = getattr(_BATCH, "mask", None)
    if mask is None:
        return args, kwargs
    states = (args[0] if args else kwargs["hidden_states"])[mask][None]
    if args:
        args = (states, *args[1:])
    else:
        kwargs = {**kwargs, "hidden_states": states}
    return args, {**kwargs, "attention_mask": None}


def _select_first(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Hidden states after the attention, (1, tokens, H) each -> those of the first token of each row, (1, B, H)."""
    offsets = getattr(_BATCH, "offsets", None)
    return None if offsets is None else tuple(states[:, offsets] for states in args)


def _pad(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Any:
    """(1, tokens, H), or (1, B, H) of first tokens -> (B, T, H), zeros at padding and at tokens that were not computed."""
    mask = getattr(_BATCH, "mask", None)
    if mask is None:
        return outputs
    states = outputs.last_hidden_state
    padded = states.new_zeros(*mask.shape, states.shape[-1])
    if states.shape[1] == len(mask):  # one token of each row, perhaps because no row has more
        padded[:, 0] = states[0]
    else:
        padded[mask] = states[0]
    outputs.last_hidden_state = padded
    return outputs
