"""ONNX programs (onnx_ir.Model): tracing a torch module, naming axes, folding transposes, saving with shared weights."""

import contextlib
import hashlib
import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hftool.errors import ConfigError, HftoolError, brief
from hftool.models.quiet import quiet

WEIGHTS = "weights.data"
SMALL = 1024  # bytes: a smaller tensor stays in its graph
PAGE = 4096  # bytes: tensors are aligned to it, so that the file can be memory-mapped


@contextlib.contextmanager
def exporting(model: Any) -> Iterator[None]:
    """Silence the exporter, and report what it cannot trace.

    Raises:
        ConfigError: The body raised anything but an HftoolError.
    """
    try:
        with silence():
            yield
    except HftoolError:
        raise
    except Exception as error:  # the tracer raises errors of many classes
        reason = brief(error, 300)
        raise ConfigError(f"{type(model).__name__} cannot be exported: {reason}", "Serve it as it is") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress the exporter's warnings and output: the parity check finds what matters."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def trace(module: torch.nn.Module, sample: Mapping[str, Any], dynamic_shapes: Mapping[str, Any]) -> Any:
    """Trace a module in eval mode, with the keyword arguments `sample` of its forward -> onnx_ir.Model.

    `dynamic_shapes` are for each of them the axes of variable size, as torch.export takes them.
    """
    exporters: Any = importlib.import_module("transformers.exporters")  # it has no type annotations
    return exporters.OnnxExporter().export(module, dict(sample), exporters.OnnxConfig(dynamic_shapes=dynamic_shapes)).program


def name_axes(program: Any, names: Mapping[str, str]) -> None:
    """Replace the exporter's names for the axes of inputs and outputs, such as "s43" or "s11 + s70", in an onnx_ir.Model."""
    import onnx_ir

    def _renamed(dim: Any) -> int | str:
        return dim if isinstance(dim, int) else re.sub(r"\w+", lambda found: names.get(found[0], found[0]), str(dim))

    for value in (*program.graph.inputs, *program.graph.outputs):
        value.shape = onnx_ir.Shape([_renamed(dim) for dim in value.shape])
    for node in program.graph.all_nodes():  # inner shapes have the old names; the runtime infers them again
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def save_graphs(programs: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write programs (onnx_ir.Model by name) and one shared file of weights into a folder -> file name by program name.

    Each tensor is stored once, and the programs read their weights from that file afterwards. The exporter's notes on each node
    are dropped, since they hold paths of this machine.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    stored: dict[bytes, tuple[int, int]] = {}
    part = folder / f"{WEIGHTS}.part"  # a program may still read its weights from an earlier file
    with part.open("wb") as file:
        for program in programs.values():
            for value in program.graph.initializers.values():
                tensor = value.const_value
                if tensor.nbytes >= SMALL:
                    data = tensor.tobytes()
                    digest = hashlib.sha256(data).digest()
                    if digest not in stored:
                        file.write(bytes(-file.tell() % PAGE))
                        stored[digest] = file.tell(), len(data)
                        file.write(data)
                    offset, length = stored[digest]
                    value.const_value = onnx_ir.ExternalTensor(
                        WEIGHTS, offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=folder
                    )
    part.replace(folder / WEIGHTS)
    files = {name: f"{name}.onnx" for name in programs}
    for name, program in programs.items():
        ClearMetadataAndDocStringPass()(program)
        onnx_ir.save(program, folder / files[name])
    return files


def fold_transposes(program: Any, *, tied: bool = False) -> int:
    """Store weights of an onnx_ir.Model transposed if the graph only reads them so -> the number of folded transposes.

    The exporter's optimizer leaves large ones alone; they would be transposed at each load, and never be quantized, since only
    a product with an initializer is. `tied`: also fold weights that the graph reads both ways, such as tied embeddings, which
    are then stored twice.
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
        transposed = np.ascontiguousarray(weights.const_value.numpy().transpose(node.attributes["perm"].as_ints()))
        value = onnx_ir.Value(
            name=f"{weights.name}.{node.outputs[0].name}",
            type=onnx_ir.TensorType(weights.const_value.dtype),
            shape=onnx_ir.Shape(transposed.shape),
        )
        value.const_value = onnx_ir.tensor(transposed, dtype=weights.const_value.dtype, name=value.name)
        program.graph.register_initializer(value)
        onnx_ir.convenience.replace_all_uses_with(node.outputs[0], value)
        program.graph.remove(node, safe=True)
        if not weights.uses():
            del program.graph.initializers[weights.name]
        folded += 1
    return folded
