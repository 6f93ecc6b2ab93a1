"""Weights of graphs as int8: a quarter of the size, and products of whole numbers."""

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.onnx_export.generation_graphs import fold_transposes, save_graphs, silence

# what a node becomes when its product is one of int8 numbers
PRODUCTS = frozenset({"MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "ConvInteger", "QAttention"})
TABLES = frozenset({"DequantizeLinear"})  # behind a table of embeddings, of which the rows that are looked up are scaled back


def quantize_graphs(folder: Path, graphs: Mapping[str, str]) -> dict[str, int]:
    """Convert the graphs of a folder in place -> how many products and tables of embeddings were converted.

    Each column of a matrix has a scale of its own, found from the weights alone; those of activations are found at each batch.
    graphs: the file of each by its name. Raises DataError when no product of a graph can be converted.
    """
    import onnx_ir

    programs, products, tables = {}, 0, 0
    for name, file in graphs.items():
        program = onnx_ir.load(folder / file)
        onnx_ir.external_data.load_to_model(program)  # the files are written anew
        fold_transposes(program, tied=True)  # only a product with weights as they lie is converted
        with silence(), _root_logger_kept():
            programs[name] = _converted(program)
        kinds = [node.op_type for node in programs[name].graph.all_nodes()]
        found = sum(kind in PRODUCTS for kind in kinds)
        if not found:
            raise DataError(f"quantizing '{file}' converted no product at all", "Export it without --quantize")
        products, tables = products + found, tables + sum(kind in TABLES for kind in kinds)
    save_graphs(programs, folder)
    return {"products": products, "tables": tables}


def _converted(program: Any) -> Any:
    exporters: Any = importlib.import_module("transformers.exporters")  # its names carry no types
    settings = exporters.OnnxRuntimeDynamicConfig(per_channel=True)
    return exporters.OnnxRuntimeQuantizer(settings).quantize(program, {}, "onnx")


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """onnxruntime warns through the root logger, and Python then gives that a handler for ever, unless it has one."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addHandler(nobody)
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.removeHandler(nobody)
        root.setLevel(level)
