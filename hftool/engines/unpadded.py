"""Padding left out of the layers of an encoder, where nearly all of the time goes: exact, but for the rounding of fp32.

Between its embeddings and its head the rows of a batch lie behind one another, without padding; attention looks at each row
by itself, rows of one length together. Heads see what they always see. transformers has this for causal models alone: its
masks for encoders know nothing of positions (`masking_utils.create_bidirectional_mask`), and rows would see each other.

Where a model reads nothing but the first token of a row, as classifiers do, the last layer computes that one alone, once its
keys and values are there. Whether a model does is found by trying, too.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

NAME = "hftool_packed"  # of the attention, as transformers' registry has it
CLOSE = 1e-4  # how far the outputs of a model may be from those with padding, of the largest, when it is tried out
# what this thread packs: mask (B, T), groups of (rows, tokens of each), and where each row begins (B,)
_NOW = threading.local()


def supports_unpadding(model: Any) -> bool:
    """Make a model ready to be packed, once -> whether it can be. Tried out on a small batch: one that answers otherwise than
    with padding is left as it was."""
    known = getattr(model, "_hftool_packs", None)
    if known is None:
        known = model._hftool_packs = _install(model)
    return bool(known)


@contextlib.contextmanager
def packing(mask: torch.Tensor) -> Iterator[None]:
    """Within the block, batches of this mask (B, T), padded on the right, are packed."""
    lengths = mask.sum(dim=1)
    _NOW.mask, _NOW.groups, _NOW.begins = mask.bool(), _groups(lengths.tolist()), lengths.cumsum(0) - lengths
    try:
        yield
    finally:
        _NOW.mask = _NOW.groups = _NOW.begins = None


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """How many rows of one length follow each other, and that length."""
    return [(len(list(group)), length) for length, group in groupby(lengths)]


def _install(model: Any) -> bool:
    config, body = model.config, getattr(model, "base_model", None)
    layers = getattr(body, "encoder", None)
    writes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if writes or layers is None or config._attn_implementation != "sdpa" or model.device.type != "cpu":
        return False
    _register()
    before = config._attn_implementation
    handles = [
        layers.register_forward_pre_hook(_pack, with_kwargs=True),
        layers.register_forward_hook(_unpack, with_kwargs=True),
    ]
    try:
        model.set_attn_implementation(NAME)
        if _agrees(model):
            _shorten(model, layers)
            return True
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError):  # another architecture than was thought
        pass
    for handle in handles:
        handle.remove()
    model.set_attn_implementation(before)
    return False


def _shorten(model: Any, layers: Any) -> None:
    """Leave the last layer's other tokens out, where the model answers the same without them."""
    try:
        handle = layers.layer[-1].attention.output.register_forward_pre_hook(_first)
    except AttributeError:  # its layers are called otherwise
        return
    try:
        if _agrees(model):
            return
    except (RuntimeError, ValueError, TypeError, LookupError):
        pass
    handle.remove()


def _agrees(model: Any) -> bool:
    """Whether a small batch of uneven rows has the same outputs either way."""
    mask = (torch.arange(9)[None] < torch.tensor([9, 4, 4, 1])[:, None]).long()
    batch = {"input_ids": torch.arange(36).view(4, 9) % model.config.vocab_size, "attention_mask": mask}
    with torch.inference_mode():
        padded = model(**batch)[0]
        with packing(mask):
            packed = model(**batch)[0]
    if padded.shape[:2] == mask.shape:  # what stands at the padding means nothing
        padded, packed = padded[mask.bool()], packed[mask.bool()]
    return bool((padded - packed).abs().max() <= CLOSE * padded.abs().max())


def _register() -> None:
    """Our attention under its name, with the masks of sdpa for when nothing is packed."""
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
    """(1, heads, tokens, width) each -> (1, tokens, heads, width): each row sees itself alone."""
    groups = getattr(_NOW, "groups", None)
    if groups is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        made: Any = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, dropout=dropout, **more)
        return made  # type: ignore[no-any-return]
    heads, width = query.shape[1], query.shape[3]
    seen = query.new_empty(query.shape[2], heads, width)
    begin = 0
    for rows, tokens in groups:
        end = begin + rows * tokens
        q, k, v = (part[0, :, begin:end].view(heads, rows, tokens, width).transpose(0, 1) for part in (query, key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        seen[begin:end].view(rows, tokens, heads, width).copy_(attended.transpose(1, 2))
        begin = end
    return seen[None], None


def _pack(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(B, T, H) -> (1, tokens, H)."""
    mask = getattr(_NOW, "mask", None)
    if mask is None:
        return given, named
    states = given[0] if given else named["hidden_states"]
    packed = states[mask][None]
    if given:
        given = (packed, *given[1:])
    else:
        named = {**named, "hidden_states": packed}
    return given, {**named, "attention_mask": None}


def _first(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """What follows the attention, (1, tokens, H) each -> the first token of each row, (1, B, H)."""
    begins = getattr(_NOW, "begins", None)
    return None if begins is None else tuple(states[:, begins] for states in given)


def _unpack(module: Any, given: tuple[Any, ...], named: dict[str, Any], made: Any) -> Any:
    """(1, tokens, H), or (1, B, H) of first tokens -> (B, T, H), zeros at the padding and where nothing was computed."""
    mask = getattr(_NOW, "mask", None)
    if mask is None:
        return made
    packed = made.last_hidden_state
    whole = packed.new_zeros(*mask.shape, packed.shape[-1])
    if packed.shape[1] == len(mask):  # a token of each row, were it because no row has more
        whole[:, 0] = packed[0]
    else:
        whole[mask] = packed[0]
    made.last_hidden_state = whole
    return made
