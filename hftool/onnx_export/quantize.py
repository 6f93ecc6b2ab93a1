"""Dynamic int8 quantization of ONNX graphs."""

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.onnx_export.program import fold_transposes, save_graphs, silence

# operators that a matrix product is converted to
PRODUCTS = frozenset({"MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "ConvInteger", "QAttention"})
TABLES = frozenset({"DequantizeLinear"})  # follows a quantized embedding table, on the rows that are looked up


def quantize_graphs(folder: Path, graphs: Mapping[str, str]) -> dict[str, int]:
    """Quantize the graphs (file by name) of a folder in place: weights per column, activations at run time.

    The numbers of converted matrix products ("products") and embedding tables ("tables") are returned.

    Raises:
        DataError: No product of a graph was converted.
    """
    import onnx_ir

    programs, products, tables = {}, 0, 0
    for name, file in graphs.items():
        program = onnx_ir.load(folder / file)
        onnx_ir.external_data.load_to_model(program)  # the file of the weights is replaced
        fold_transposes(program, tied=True)  # only products with an initializer are converted
        with silence(), _preserve_root_logger():
            exporters: Any = importlib.import_module("transformers.exporters")  # it has no type annotations
            settings = exporters.OnnxRuntimeDynamicConfig(per_channel=True)
            programs[name] = exporters.OnnxRuntimeQuantizer(settings).quantize(program, {}, "onnx")
        operators = [node.op_type for node in programs[name].graph.all_nodes()]
        found = sum(operator in PRODUCTS for operator in operators)
        if not found:
            raise DataError(f"quantizing '{file}' converted no product at all", "Export it without --quantize")
        products, tables = products + found, tables + sum(operator in TABLES for operator in operators)
    save_graphs(programs, folder)
    return {"products": products, "tables": tables}


@contextlib.contextmanager
def _preserve_root_logger() -> Iterator[None]:
    """Keep onnxruntime's warnings from adding a handler to the root logger for good, as logging does if it has none."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
