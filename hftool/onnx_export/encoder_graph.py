"""ONNX graphs of models whose answer is read off their outputs: one graph, from the inputs of a batch to those outputs."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hftool.errors import ConfigError
from hftool.heads.protocol import Batch
from hftool.onnx_export.generation_graphs import save_graphs, silence

AXES = ("batch", "tokens")


def write_graph(model: Any, sample: Batch, outputs: Sequence[str], folder: Path) -> dict[str, str]:
    """Write `model.onnx` and its weights to `folder` -> its file by its name, "model".

    model: in eval mode, on the CPU, with fp32 weights. sample: inputs (B, T) that it takes, at least 2 by 2, with padding in a
    row; the graph takes any others, whatever their B and T. outputs: those that the graph gives, of those of the model.
    Raises ConfigError when the exporter cannot follow the model, StorageError when the disk does not take the files.
    """
    keeps = getattr(model.config, "use_cache", None)
    model.config.use_cache = False  # a cache that nobody reads would be an output
    try:
        with silence():
            program = _traced(model, sample)
    except Exception as error:  # whatever the tracer stumbles over
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{type(model).__name__} cannot be exported: {reason}", "Serve it as it is") from error
    finally:
        model.config.use_cache = keeps
    _keep_outputs(program, outputs)
    _name_axes(program, sample)
    return save_graphs({"model": program}, folder)


def _traced(model: Any, sample: Batch) -> Any:
    """The model as an onnx_ir.Model, in which rows and tokens may be any number, 1 too."""
    exporters: Any = importlib.import_module("transformers.exporters")  # its names carry no types
    shapes = {name: dict.fromkeys(range(values.ndim), torch.export.Dim.DYNAMIC) for name, values in sample.items()}
    return exporters.OnnxExporter().export(model, dict(sample), exporters.OnnxConfig(dynamic_shapes=shapes)).program


def _keep_outputs(program: Any, outputs: Sequence[str]) -> None:
    """Leave out what nobody reads, such as BERT's pooler, and the weights that only it needs."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    kept = [value for value in program.graph.outputs if value.name in outputs]
    if len(kept) != len(outputs):
        given = ", ".join(str(value.name) for value in program.graph.outputs)
        raise ConfigError(f"the graph gives {given} where {', '.join(outputs)} is needed", "This is a fault of the exporter")
    program.graph.outputs[:] = kept
    RemoveUnusedNodesPass()(program)


def _name_axes(program: Any, sample: Mapping[str, torch.Tensor]) -> None:
    """Call the axes of inputs and outputs what they are, and not s43 and s53."""
    import onnx_ir

    names = {
        str(dim): name
        for value in program.graph.inputs
        if value.name in sample
        for dim, name in zip(value.shape, AXES, strict=False)
    }
    for value in (*program.graph.inputs, *program.graph.outputs):
        value.shape = onnx_ir.Shape([names.get(str(dim), dim) for dim in value.shape])
    for node in program.graph.all_nodes():  # shapes within, by the old names, are worth nothing to anybody
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
