"""ONNX export of models that answer in one forward pass: one graph, `model.onnx`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hftool.errors import ConfigError
from hftool.heads.protocol import Batch
from hftool.onnx_export.program import exporting, name_axes, save_graphs, trace

AXES = ("batch", "tokens")


def write_graph(model: Any, sample: Batch, outputs: Sequence[str], folder: Path) -> dict[str, str]:
    """Write `model.onnx` and its weights, of a model in eval mode on the CPU in fp32, into a folder -> {"model": file name}.

    `sample` has inputs (B, T) with B, T >= 2 and padding in a row; the graph takes these inputs with any B and T, and keeps the
    named outputs of the model.

    Raises:
        ConfigError: The exporter cannot trace the model.
        OSError: A file cannot be written.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    use_cache = getattr(model.config, "use_cache", None)
    model.config.use_cache = False  # an unused cache would become an output
    shapes = {name: dict.fromkeys(range(values.ndim), torch.export.Dim.DYNAMIC) for name, values in sample.items()}
    try:
        with exporting(model):
            program = trace(model, sample, shapes)
    finally:
        model.config.use_cache = use_cache
    # the other outputs, such as BERT's pooler, are removed with the weights that only they need
    kept = [value for value in program.graph.outputs if value.name in outputs]
    if len(kept) != len(outputs):
        found = ", ".join(str(value.name) for value in program.graph.outputs)
        raise ConfigError(f"the graph gives {found} where {', '.join(outputs)} is needed", "This is a bug of the exporter")
    program.graph.outputs[:] = kept
    RemoveUnusedNodesPass()(program)
    inputs = [value for value in program.graph.inputs if value.name in sample]
    name_axes(program, {str(dim): name for value in inputs for dim, name in zip(value.shape, AXES, strict=False)})
    return save_graphs({"model": program}, folder)
