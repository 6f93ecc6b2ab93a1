"""ONNX export of models that generate text token by token with a key-value cache.

A decoder is one graph, `decoder.onnx`. It takes any number of tokens after any number of cached ones, so that the same graph
reads the prompt (empty cache) and generates. An encoder-decoder has a second graph, `encoder.onnx`, which runs once for each
text and returns the cross-attention keys and values for each layer of the decoder.

Inputs and outputs, for N rows of T tokens after P cached ones, a source of S tokens, and heads of size D:
- encoder: input_ids, attention_mask (N, S) -> cross.LAYER.key, cross.LAYER.value (N, heads, S, D)
- decoder: input_ids (N, T), keep (K,): positions among the T whose logits are needed, past.LAYER.key, past.LAYER.value
  (N, heads, P, D), attention_mask (N, P + T), position_ids (N, T) where the model takes them; after an encoder instead
  attention_mask (N, S) of the source, cross.LAYER.key, cross.LAYER.value
  -> logits (N, K, V), present.LAYER.key, present.LAYER.value (N, heads, P + T, D)

All graphs have their weights in one file that stores each tensor once, so encoder and decoder share their embeddings.
"""

import inspect
from pathlib import Path
from typing import Any

import torch

from hftool.engines.cache_argument import cache_name, cache_of
from hftool.errors import UsageError
from hftool.onnx_export.program import exporting, fold_transposes, name_axes, save_graphs, trace

# Tokens of the sample: all different, since the exporter takes axes of equal size for one, and one of size 0 or 1 for fixed.
ROWS, CACHED, NEW, SOURCE, WANTED = 2, 5, 3, 7, 4
# the axis of each input that has a variable size besides the rows, and its name
AXES = {
    "input_ids": (1, "tokens"),
    "position_ids": (1, "tokens"),
    "keep": (0, "wanted"),
    "past": (2, "past"),
    "cross": (2, "source"),
    "attention_mask": (1, "read"),
}

State = list[dict[str, torch.Tensor]]  # key and value (N, heads, P, D) of each layer


def write_graphs(model: Any, folder: Path) -> dict[str, str]:
    """Write the graphs of a decoder or an encoder-decoder, in eval mode on the CPU in fp32, into a folder.

    The names of the files are returned by that of the graph: "decoder" and, of an encoder-decoder, "encoder".

    Raises:
        UsageError: The model's cache is something other than all keys and values.
        ConfigError: The exporter cannot trace the model.
        OSError: A file cannot be written.
    """
    with exporting(model):
        programs = _encoder_decoder(model) if model.config.is_encoder_decoder else {"decoder": _decoder(model)}
    for program in programs.values():
        fold_transposes(program)
    return save_graphs(programs, folder)


# ---- modules to trace, with the cache as plain tensors


class _Decoder(torch.nn.Module):
    """A decoder alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, past: State, keep: torch.Tensor, **inputs: torch.Tensor) -> dict[str, Any]:
        """Logits and the grown cache."""
        if _takes(self.model, "logits_to_keep"):
            inputs["logits_to_keep"] = keep
        outputs = self.model(**inputs, **{cache_name(): _cache(past)}, use_cache=True)
        logits = outputs.logits if "logits_to_keep" in inputs else outputs.logits.index_select(1, keep)
        return {"logits": logits, "present": _state(cache_of(outputs))}


class _Encoder(torch.nn.Module):
    """The encoder, and the decoder's cross-attention projections of its states.

    The whole decoder runs, since each architecture names those projections differently; the exporter drops unused nodes.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, Any]:
        """The cross-attention keys and values."""
        start = torch.zeros_like(inputs["input_ids"][:, :1])
        outputs = self.model(**inputs, decoder_input_ids=start, use_cache=True)
        return {"cross": _state(cache_of(outputs).cross_attention_cache)}


class _CrossDecoder(torch.nn.Module):
    """The decoder of an encoder-decoder, given the cross-attention keys and values."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, keep: torch.Tensor, past: State, cross: State
    ) -> dict[str, Any]:
        """Logits and the grown cache."""
        from transformers.cache_utils import EncoderDecoderCache

        cache = EncoderDecoderCache(_cache(past), _cache(cross))
        cache.is_updated = dict.fromkeys(range(len(cross)), True)
        unused = torch.zeros(*attention_mask.shape, self.model.config.hidden_size)
        outputs = self.model(
            encoder_outputs=(unused,),
            attention_mask=attention_mask,
            decoder_input_ids=input_ids,
            use_cache=True,
            **{cache_name(): cache},
        )
        return {"logits": outputs.logits.index_select(1, keep), "present": _state(cache_of(outputs).self_attention_cache)}


def _cache(state: State) -> Any:
    from transformers.cache_utils import DynamicCache

    return DynamicCache([(layer["key"], layer["value"]) for layer in state])


def _state(cache: Any) -> State:
    """The keys and values of a cache. Raises UsageError unless it keeps all of them."""
    from transformers.cache_utils import DynamicLayer

    layers = getattr(cache, "layers", [None])
    if any(type(layer) is not DynamicLayer for layer in layers):
        detail = "this model does not keep all keys and values between two tokens, as graphs for generation do"
        raise UsageError(detail, "Serve it as it is, without an export")
    return [{"key": layer.keys, "value": layer.values} for layer in layers]


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters


# ---- samples and programs


def _decoder(model: Any) -> Any:
    """The program of a decoder-only model."""
    ids, mask = _texts(CACHED + NEW, left=True)
    with torch.no_grad():
        past = _state(cache_of(model(input_ids=ids[:, :CACHED], attention_mask=mask[:, :CACHED], use_cache=True)))
    sample = {"input_ids": ids[:, CACHED:], "attention_mask": mask, "keep": torch.arange(WANTED) % NEW, "past": past}
    if _takes(model, "position_ids"):
        sample["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, CACHED:]
    return _program(_Decoder(model), sample)


def _encoder_decoder(model: Any) -> dict[str, Any]:
    """The programs of an encoder-decoder."""
    source, mask = _texts(SOURCE, left=False)
    ids, _ = _texts(CACHED + NEW, left=False)
    with torch.no_grad():
        cache = cache_of(model(input_ids=source, attention_mask=mask, decoder_input_ids=ids[:, :CACHED], use_cache=True))
    past, cross = _state(cache.self_attention_cache), _state(cache.cross_attention_cache)
    sample = {"input_ids": ids[:, CACHED:], "attention_mask": mask, "keep": torch.arange(WANTED) % NEW}
    return {
        "encoder": _program(_Encoder(model), {"input_ids": source, "attention_mask": mask}),
        "decoder": _program(_CrossDecoder(model), {**sample, "past": past, "cross": cross}),
    }


def _texts(length: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (ROWS, length), with padding in one row: the exporter drops a mask of ones."""
    ids, mask = torch.ones(ROWS, length, dtype=torch.long), torch.ones(ROWS, length, dtype=torch.long)
    mask[0, :2] = 0 if left else 1
    mask[0, -2:] = 1 if left else 0
    return ids, mask


def _program(module: torch.nn.Module, sample: dict[str, Any]) -> Any:
    """Trace a module -> onnx_ir.Model with variable numbers of rows and tokens."""
    program = trace(module.eval(), sample, _dynamic_axes(sample))
    names: dict[str, str] = {}  # the exporter's names of axes, such as "s11", -> those of AXES
    for value in sorted(program.graph.inputs, key=lambda value: value.name == "attention_mask"):  # other inputs name it first
        kind = value.name.split(".")[0]
        rows = {} if kind == "keep" else {str(value.shape[0]): "rows"}
        names = {str(value.shape[AXES[kind][0]]): AXES[kind][1]} | names | rows
    name_axes(program, names)
    return program


def _dynamic_axes(sample: Any) -> Any:
    """The axes of variable size: rows and tokens, but not the heads and their size in a cache (N, heads, P, D)."""
    if isinstance(sample, torch.Tensor):
        return dict.fromkeys((0, 2) if sample.dim() == 4 else range(sample.dim()), torch.export.Dim.AUTO)
    if isinstance(sample, dict):
        return {name: _dynamic_axes(part) for name, part in sample.items()}
    return [_dynamic_axes(part) for part in sample]
