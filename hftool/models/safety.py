"""Checks a model folder before any library opens it; nothing here executes or unpickles.

`trust_remote_code=False` was bypassed in four published ways in 2026 (CVE-2026-4372 among them): the flag is no security
boundary, so hostile files are refused instead. Weights must be safetensors, by content and not by file name.
"""

import importlib.util
import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftool.errors import DataError, InputMissing, Refused, UsageError, brief
from hftool.storage.checksums import compare_folder
from hftool.storage.json_documents import MAX_BYTES, check_plain, containers, open_plain, read_document
from hftool.storage.pickles import CONVERT, PICKLES

CONFIGS = (
    *("config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json"),
    *("processor_config.json", "preprocessor_config.json"),
)
HOSTILE_KEYS = frozenset({
    *("auto_map", "trust_remote_code", "custom_pipelines", "custom_generate"),
    *("_attn_implementation", "_attn_implementation_internal", "_experts_implementation_internal"),
    "transformers_weights",  # may name adapter_model.bin, which is unpickled
})  # fmt: skip
# with the value "owner/name" these make transformers fetch a kernel from the Hub and run it
CHOICE_KEYS = frozenset({"attn_implementation", "experts_implementation"})
TEMPLATES = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
# ways for a template to leave its sandbox; no template on the Hub that only formats a chat has any of them
ESCAPE = re.compile(
    r"__(class|bases?|mro|subclasses|globals|builtins|import|init|dict|code|closure|getattribute|reduce|reduce_ex|loader)__"
    r"|\|\s*attr\s*\(|\b(gi|cr|ag|tb|f)_(frame|code|globals|builtins|back)\b"
)
HARMLESS_PRIVATE_KEYS = frozenset({"_name_or_path", "_num_labels", "_commit_hash", "_from_model_config"})
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
EXPORT = "export.json"  # marks a folder whose weights are in ONNX graphs
MAX_GRAPH = 2**31 - 1  # bytes; the limit of protobuf
# operator sets built into onnxruntime; any other needs a library, which is code
OPERATORS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
OPENS_FILES = frozenset({"EPContext"})  # loads a compiled engine, which is code


def check_folder(folder: Path, *, weights: bool = True) -> None:
    """Check that `folder` holds a model that can be loaded without executing any of its content.

    `weights`: whether it must hold weights; config and tokenizer alone are checked as strictly.

    Raises:
        InputMissing: There is no model.
        Refused: Pickled weights only, hostile keys, links out of the folder.
        DataError: A file is damaged.
    """
    check_plain(folder / "config.json")
    if not (folder / "config.json").is_file():
        raise InputMissing(f"'{folder}' is no model folder: it has no config.json")
    check_links(folder)
    for name in CONFIGS:
        if (folder / name).is_file():
            _check_config(folder / name)
    _check_templates(folder)
    for path in sorted(folder.glob("*.safetensors.index.json")):
        _check_index(path)
    if weights and is_export(folder):
        check_export(folder)
    elif weights:
        _check_weights(folder)


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if (folder / "adapter_config.json").is_file() and not (folder / "adapter_model.safetensors").is_file():
        raise Refused(f"'{folder}' has an adapter without adapter_model.safetensors", CONVERT)
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise Refused(f"'{folder}' has its weights only as a pickle ('{pickles[0]}'), which can run code", CONVERT)
        raise InputMissing(f"'{folder}' has a config.json but no *.safetensors")
    for path in weights:
        check_safetensors(path)


def check_links(folder: Path) -> None:
    """Raise Refused if a link leads out of the folder, or an entry is a pipe, a socket or a device.

    In a Hub cache, the links of a snapshot lead to its sibling `blobs`, and since huggingface_hub 2 on to those of the cache.
    """
    root = folder.resolve()
    in_cache = root.parent.name == "snapshots"
    allowed = [root, *(parent / "blobs" for parent in root.parents[1:3] if in_cache)]
    for path in folder.rglob("*"):
        try:
            target = path.resolve()
        except (RuntimeError, OSError):
            raise Refused(f"'{path}' is a link that leads nowhere", "Copy the file itself into the folder") from None
        if not any(target.is_relative_to(root) for root in allowed):
            raise Refused(f"'{path}' is a link out of its folder", "Copy the file itself into the folder")
        check_plain(path)


def _check_config(path: Path) -> None:
    for key, value in _entries(read_document(path)):
        private = key.startswith("_") and key.endswith("_internal")
        chosen = key in CHOICE_KEYS and any(isinstance(v, str) and "/" in v for v in _values(value))
        if ((key in HOSTILE_KEYS or private) and key not in HARMLESS_PRIVATE_KEYS) or chosen:
            what = f"'{path}' has the key '{key}', which can make a library run foreign code"
            raise Refused(what, "Remove the key if you trust its author")


def _check_templates(folder: Path) -> None:
    """Check chat templates, which are Jinja programs: hftool renders none, but other tools that load the folder may."""
    for path in sorted(folder.rglob("*.jinja")):
        if path.stat().st_size > MAX_BYTES or ESCAPE.search(path.read_text(encoding="utf-8", errors="replace")):
            raise Refused(f"'{path}' is a template that reaches for Python's own objects", "Remove it if you trust its author")
    for path in (folder / name for name in TEMPLATES if (folder / name).is_file()):
        for key, value in _entries(read_document(path)):
            if key in ("chat_template", "template") and any(isinstance(v, str) and ESCAPE.search(v) for v in _texts(value)):
                what = f"'{path}' has a {key} that reaches for Python's own objects"
                raise Refused(what, "Remove it if you trust its author")


def _texts(value: Any) -> list[Any]:
    """A template, or the templates of a list or a mapping."""
    return value if isinstance(value, list) else _values(value)


def _check_index(path: Path) -> None:
    """Check that the shard index names only safetensors files of its folder: transformers unpickles any other file."""
    names = read_document(path).get("weight_map")
    if not isinstance(names, dict):
        raise DataError(f"'{path}' is damaged: it has no weight_map")
    for name in sorted({str(name) for name in names.values()}):
        if not name.endswith(".safetensors") or "/" in name or "\\" in name:
            raise Refused(f"'{path}' names '{name}', which is no safetensors file of its folder", CONVERT)
        if not (path.parent / name).is_file():
            raise DataError(f"'{path}' names '{name}', which is missing", "Copy all shards of the model")


def _entries(root: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) of all objects at any depth."""
    return (entry for _, item in containers(root) if isinstance(item, dict) for entry in item.items())


def _values(value: Any) -> list[Any]:
    """A value, or the values of a mapping: an implementation may be set for each part of a model."""
    return list(value.values()) if isinstance(value, dict) else [value]


def check_safetensors(path: Path) -> None:
    """Raise Refused if `path` is a pickle or an archive in disguise, DataError if its header or size is wrong."""
    safetensors_header(path)


def safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """The header of a safetensors file: tensor name to dtype, shape and data_offsets. The data is not read.

    Raises Refused (a pickle or an archive in disguise, not a regular file), DataError (a wrong header or file size).
    """
    if path.is_dir():
        raise DataError(f"'{path}' is damaged: not a file")
    with open_plain(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        head, first = handle.read(8), handle.read(1)
        # 0x80 starts a pickle, but also one in 32 headers: their length is a multiple of 8, stored lowest byte first
        if first != b"{" and (head[:1] == b"\x80" or head[:4] == b"PK\x03\x04"):
            raise Refused(f"'{path}' is called safetensors but is a pickle or an archive", CONVERT)
        if len(head) < 8:
            raise DataError(f"'{path}' is damaged: {size} bytes are too few for a header")
        length = struct.unpack("<Q", head)[0]
        if not 0 < length <= min(MAX_HEADER, size - 8):
            raise DataError(f"'{path}' is damaged: its header claims {length} bytes of {size}")
        try:
            header: dict[str, Any] = json.loads(first + handle.read(length - len(first)))
            rows = {key: row for key, row in header.items() if key != "__metadata__"}
            expected = 8 + length + max((row["data_offsets"][1] for row in rows.values()), default=0)
            whole = all(0 <= start <= end for start, end in (row["data_offsets"] for row in rows.values()))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise DataError(f"'{path}' is damaged: its header is not readable ({type(error).__name__})") from None
    if expected != size or not whole:
        raise DataError(f"'{path}' is damaged: {size} bytes where its header promises {expected}")
    return rows


def is_export(folder: Path) -> bool:
    """Whether a model folder holds graphs instead of weights, by its file names alone."""
    return (folder / EXPORT).is_file() and not any(folder.glob("*.safetensors"))


def check_export(folder: Path) -> None:
    """Check each graph that export.json names. Raises DataError (damaged, a graph is missing), and what `check_onnx` raises."""
    graphs = read_document(folder / EXPORT).get("graphs")
    if not isinstance(graphs, dict) or not graphs:
        raise DataError(f"'{folder / EXPORT}' names no graphs", "Make the folder with `hftool export MODEL --out DIR`")
    for name in graphs.values():
        if not isinstance(name, str) or not _is_file_name(name) or not name.endswith(".onnx"):
            raise Refused(f"'{folder / EXPORT}' names '{name}', which is no graph of its folder", "Export the model again")
        check_onnx(folder / name)


def check_onnx(path: Path) -> None:
    """Check that a graph uses only built-in operators, and weights from its own folder.

    Raises:
        Refused: Foreign operators, weights outside the folder, or a file over 2 GiB.
        DataError: It is no graph, or its weights are missing or too short.
        UsageError: The extra `export` is not installed.
    """
    check_extra()
    import onnx

    if not path.is_file():
        raise DataError(f"'{path}' is missing or no file", "Copy all files of the export")
    if path.stat().st_size > MAX_GRAPH:
        raise Refused(f"'{path}' has {path.stat().st_size} bytes, over the 2 GiB of a graph", "Export the model again")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, or ValueError
        raise DataError(f"'{path}' is damaged: no ONNX graph ({brief(error, 80)})") from None
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        known = node.domain in OPERATORS or (node.domain, node.op_type) in own
        if not known or node.op_type in OPENS_FILES:
            what = f"'{path}' has the operator '{node.domain}.{node.op_type}', which is foreign code"
            raise Refused(what, "Export the model again")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path, {entry.key: entry.value for entry in tensor.external_data})


def _is_file_name(name: str) -> bool:
    """Whether it names a file directly in the folder, on any system."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:*\0")


def _check_external(path: Path, entry: dict[str, str]) -> None:
    """Check that external weights of a graph are in its folder, and long enough."""
    name = entry.get("location", "")
    if not _is_file_name(name):
        raise Refused(f"'{path}' takes weights from '{name}', which is no file of its folder", "Export the model again")
    size = (path.parent / name).stat().st_size if (path.parent / name).is_file() else -1
    numbers = [entry.get("offset", "0") or "0", entry.get("length", "0") or "0"]
    if size < 0 or not all(number.isdecimal() for number in numbers) or sum(map(int, numbers)) > size:
        raise DataError(f"'{path}' takes weights from '{name}', which is missing or too short", "Copy all files of the export")


def _graphs(model: Any) -> Iterator[Any]:
    """All graphs and functions of a model, including those in branches and loops."""
    pending = [model.graph, *model.functions, *(g for t in model.training_info for g in (t.initialization, t.algorithm))]
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(g for node in graph.node for a in node.attribute for g in (a.g, *a.graphs) if g.ByteSize())


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model: weights, and constants in attributes."""
    sparse = []
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())  # a function has none
        sparse += list(getattr(graph, "sparse_initializer", ()))
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def check_extra(*more: str) -> None:
    """Raise UsageError unless onnx, onnxruntime and the packages in `more` are installed."""
    missing = [name for name in ("onnx", "onnxruntime", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"graphs need {', '.join(missing)}", "pip install 'hftool-recipes[export]'")


def check_hash(path: Path, expected: str) -> None:
    """Raise Refused unless the file has the expected SHA-256."""
    for found in compare_folder(path.parent, {path.name: expected}).changed.values():
        what = f"'{path}' has the SHA-256 {found[:16]}..., not the {expected[:16]}... that is registered for it"
        raise Refused(what, "Install the package again from the index you trust")
