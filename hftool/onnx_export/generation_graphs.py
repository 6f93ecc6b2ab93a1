"""ONNX graphs of models that write: a text goes on token by token, from keys and values that are kept between the steps.

A decoder is one graph, `decoder.onnx`. It takes any number of tokens after any number of earlier ones, so that the same graph
reads a prompt (nothing is kept yet) and adds a token to it. An encoder-decoder has a second, `encoder.onnx`, which runs once a
text and answers with the keys and values that the decoder attends to, for each of its layers.

What goes in and comes out, for N rows of T tokens after P that are kept, a source of S tokens, heads of D numbers:
- encoder: input_ids, attention_mask (N, S) -> cross.LAYER.key, cross.LAYER.value (N, heads, S, D)
- decoder: input_ids (N, T), keep (K,): at which of the T places logits are wanted, past.LAYER.key, past.LAYER.value
  (N, heads, P, D), attention_mask (N, P + T), position_ids (N, T) where the model takes them; after an encoder instead
  attention_mask (N, S) of the source, cross.LAYER.key, cross.LAYER.value
  -> logits (N, K, V), present.LAYER.key, present.LAYER.value (N, heads, P + T, D)

All graphs have their weights in one file, in which each tensor stands once: what encoder and decoder share is not stored twice.
"""

import contextlib
import hashlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from hftool.engines.cache import cache_name, cache_of
from hftool.errors import ConfigError, HftoolError, UsageError
from hftool.models.quiet import quiet

WEIGHTS = "weights.data"
SMALL = 1024  # bytes: a smaller tensor stays in its graph
PAGE = 4096  # bytes: a tensor begins at a multiple of it, so that the file can be mapped into memory
# Tokens of the sample. The exporter takes an axis of 0 or 1 for fixed, and two of the same size for one.
ROWS, KEPT, NEW, SOURCE, WANTED = 2, 5, 3, 7, 4
# an axis of each input that may be any number beside the rows, and what it is called
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
    """Write the graphs of a decoder or an encoder-decoder into a folder -> their files by name: "decoder", perhaps "encoder".

    model: in eval mode, on the CPU, with fp32 weights. Raises UsageError when the model keeps something other than all keys and
    values between its steps, ConfigError when the exporter cannot follow it, OSError when the disk does not take the files.
    """
    try:
        with silence():
            programs = _pair(model) if model.config.is_encoder_decoder else {"decoder": _decoder(model)}
    except HftoolError:
        raise
    except Exception as error:  # whatever the tracer stumbles over
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{type(model).__name__} cannot be exported: {reason}", "Serve it as it is") from error
    for program in programs.values():
        fold_transposes(program)
    return save_graphs(programs, folder)


def save_graphs(programs: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write programs (onnx_ir.Model by name) into a folder, their weights beside them in one file that has each tensor once
    -> file names by name. The programs read their weights from that file afterwards.

    What the exporter noted at each node, paths of this machine among it, is left out.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    known: dict[bytes, tuple[int, int]] = {}
    written = folder / f"{WEIGHTS}.part"  # a program may still read its weights from an earlier file
    with written.open("wb") as file:
        for program in programs.values():
            for value in program.graph.initializers.values():
                tensor = value.const_value
                if tensor.nbytes >= SMALL:
                    offset, length = _stored(tensor.tobytes(), file, known)
                    value.const_value = onnx_ir.ExternalTensor(
                        WEIGHTS, offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=folder
                    )
    written.replace(folder / WEIGHTS)
    files = {name: f"{name}.onnx" for name in programs}
    for name, program in programs.items():
        ClearMetadataAndDocStringPass()(program)
        onnx_ir.save(program, folder / files[name])
    return files


def _stored(data: bytes, file: BinaryIO, known: dict[bytes, tuple[int, int]]) -> tuple[int, int]:
    """Write the numbers of a tensor unless they are in the file already -> (offset, length) in bytes."""
    digest = hashlib.sha256(data).digest()
    if digest not in known:
        file.write(bytes(-file.tell() % PAGE))
        known[digest] = file.tell(), len(data)
        file.write(data)
    return known[digest]


def fold_transposes(program: Any, *, tied: bool = False) -> int:
    """Store the weights that a graph only ever reads transposed as it reads them -> how many.

    The optimizer of the exporter leaves large ones as they are, each of which would be transposed anew whenever the model is
    loaded, and would never be quantized: a product is, when its weights are an initializer. tied: also those that the graph
    reads in both ways, such as embeddings that make the logits, too; they are stored twice then.
    """
    import numpy as np
    import onnx_ir

    folded = 0
    for node in list(program.graph):
        weights = node.inputs[0] if node.op_type == "Transpose" else None
        if weights is None or weights.name not in program.graph.initializers:
            continue
        if not tied and any(other.op_type != "Transpose" for other, _ in weights.uses()):
            continue
        turned = np.ascontiguousarray(weights.const_value.numpy().transpose(node.attributes["perm"].as_ints()))
        value = onnx_ir.Value(
            name=f"{weights.name}.{node.outputs[0].name}",
            type=onnx_ir.TensorType(weights.const_value.dtype),
            shape=onnx_ir.Shape(turned.shape),
        )
        value.const_value = onnx_ir.tensor(turned, dtype=weights.const_value.dtype, name=value.name)
        program.graph.register_initializer(value)
        onnx_ir.convenience.replace_all_uses_with(node.outputs[0], value)
        program.graph.remove(node, safe=True)
        if not weights.uses():
            del program.graph.initializers[weights.name]
        folded += 1
    return folded


# ---- models as their graphs have them: what is kept goes in and comes out as plain tensors


class _Decoder(torch.nn.Module):
    """A decoder alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, past: State, keep: torch.Tensor, **inputs: torch.Tensor) -> dict[str, Any]:
        """-> logits and what is kept."""
        if _takes(self.model, "logits_to_keep"):
            inputs["logits_to_keep"] = keep
        made = self.model(**inputs, **{cache_name(): _cache(past)}, use_cache=True)
        logits = made.logits if "logits_to_keep" in inputs else made.logits.index_select(1, keep)
        return {"logits": logits, "present": _state(cache_of(made))}


class _Encoder(torch.nn.Module):
    """The encoder, and of the decoder what it makes of the encoder's states. The rest of the decoder is run, too, since every
    architecture has its own name for that part, and the exporter leaves out what nothing comes of."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> dict[str, Any]:
        """-> the keys and values of the source."""
        begin = torch.zeros_like(inputs["input_ids"][:, :1])
        made = self.model(**inputs, decoder_input_ids=begin, use_cache=True)
        return {"cross": _state(cache_of(made).cross_attention_cache)}


class _DecoderOfPair(torch.nn.Module):
    """The decoder after an encoder, of which it needs the keys and values alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, keep: torch.Tensor, past: State, cross: State
    ) -> dict[str, Any]:
        """-> logits and what is kept."""
        from transformers.cache_utils import EncoderDecoderCache

        cache = EncoderDecoderCache(_cache(past), _cache(cross))
        cache.is_updated = dict.fromkeys(range(len(cross)), True)
        unread = torch.zeros(*attention_mask.shape, self.model.config.hidden_size)
        made = self.model(
            encoder_outputs=(unread,),
            attention_mask=attention_mask,
            decoder_input_ids=input_ids,
            use_cache=True,
            **{cache_name(): cache},
        )
        return {"logits": made.logits.index_select(1, keep), "present": _state(cache_of(made).self_attention_cache)}


def _cache(state: State) -> Any:
    from transformers.cache_utils import DynamicCache

    return DynamicCache([(layer["key"], layer["value"]) for layer in state])


def _state(cache: Any) -> State:
    """What a cache holds. Raises UsageError when that is not all keys and values."""
    from transformers.cache_utils import DynamicLayer

    layers = getattr(cache, "layers", [None])
    if any(type(layer) is not DynamicLayer for layer in layers):
        detail = "this model does not keep all keys and values between two tokens, which the graphs of a model that writes do"
        raise UsageError(detail, "Serve it as it is, without an export")
    return [{"key": layer.keys, "value": layer.values} for layer in layers]


def _takes(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters


# ---- samples and traces


def _decoder(model: Any) -> Any:
    """The program of a decoder alone."""
    ids, mask = _texts(KEPT + NEW, left=True)
    with torch.no_grad():
        past = _state(cache_of(model(input_ids=ids[:, :KEPT], attention_mask=mask[:, :KEPT], use_cache=True)))
    sample = {"input_ids": ids[:, KEPT:], "attention_mask": mask, "keep": torch.arange(WANTED) % NEW, "past": past}
    if _takes(model, "position_ids"):
        sample["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, KEPT:]
    return _program(_Decoder(model), sample)


def _pair(model: Any) -> dict[str, Any]:
    """The programs of an encoder-decoder."""
    source, mask = _texts(SOURCE, left=False)
    ids, _ = _texts(KEPT + NEW, left=False)
    with torch.no_grad():
        made = cache_of(model(input_ids=source, attention_mask=mask, decoder_input_ids=ids[:, :KEPT], use_cache=True))
    past, cross = _state(made.self_attention_cache), _state(made.cross_attention_cache)
    sample = {"input_ids": ids[:, KEPT:], "attention_mask": mask, "keep": torch.arange(WANTED) % NEW}
    return {
        "encoder": _program(_Encoder(model), {"input_ids": source, "attention_mask": mask}),
        "decoder": _program(_DecoderOfPair(model), {**sample, "past": past, "cross": cross}),
    }


def _texts(length: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (ROWS, length) of a sample. One row has padding: a mask without any would be left out of the graph."""
    ids, mask = torch.ones(ROWS, length, dtype=torch.long), torch.ones(ROWS, length, dtype=torch.long)
    mask[0, :2] = 0 if left else 1
    mask[0, -2:] = 1 if left else 0
    return ids, mask


def _program(module: torch.nn.Module, sample: dict[str, Any]) -> Any:
    """Trace a module -> onnx_ir.Model, in which rows and tokens may be any number."""
    from transformers import exporters

    library: Any = exporters  # its names carry no types
    module.eval()
    axes = _open_axes(sample)
    program = library.OnnxExporter().export(module, sample, library.OnnxConfig(dynamic_shapes=axes)).program
    _name_axes(program)
    return program


def _open_axes(sample: Any) -> Any:
    """The axes of a sample that may be any number: rows and tokens, and not the heads (N, heads, P, D) of what is kept."""
    if isinstance(sample, torch.Tensor):
        return dict.fromkeys((0, 2) if sample.dim() == 4 else range(sample.dim()), torch.export.Dim.AUTO)
    if isinstance(sample, dict):
        return {name: _open_axes(part) for name, part in sample.items()}
    return [_open_axes(part) for part in sample]


def _name_axes(program: Any) -> None:
    """Call the axes of inputs and outputs what they are, and not s11 and s70."""
    import onnx_ir

    names: dict[str, str] = {}
    for value in sorted(program.graph.inputs, key=lambda value: value.name == "attention_mask"):  # others say what it masks
        kind = value.name.split(".")[0]
        rows = {} if kind == "keep" else {str(value.shape[0]): "rows"}
        names = {str(value.shape[AXES[kind][0]]): AXES[kind][1]} | names | rows
    for value in (*program.graph.inputs, *program.graph.outputs):
        dims = [dim if isinstance(dim, int) else _named(str(dim), names) for dim in value.shape]
        value.shape = onnx_ir.Shape(dims)
    for node in program.graph.all_nodes():  # shapes within are by the old names, and found anew when the graph is opened
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def _named(size: str, names: Mapping[str, str]) -> str:
    """A size such as "s11 + s70" by the names of its parts."""
    return re.sub(r"\w+", lambda found: names.get(found[0], found[0]), size)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what the exporter has to say off the terminal: what matters of it, the parity check finds."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
