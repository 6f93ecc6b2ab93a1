"""A model folder whose weights are in graphs: what export.json says of it, and what it is, without opening a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.safety import EXPORT, sha256
from hftool.storage.json_documents import Schema, each
from hftool.storage.run_folder import read_json

COUNT: Schema = {"type": "integer", "minimum": 0}
COUNTS = ("layers", "hidden_size", "attention_heads", "vocabulary", "parameters")
FACTS: Schema = {  # of `describe`, as it was when the model was exported
    "type": "object",
    "required": ("architecture", "family", *COUNTS, "parameters_by_part"),
    "properties": {
        "architecture": {"type": "string"},
        "family": {"type": "string"},
        **each(COUNTS, COUNT),
        "parameters_by_part": {"type": "object", "additionalProperties": COUNT},
    },
}
KNOWN: tuple[str, ...] = FACTS["required"]
GRAPH: Schema = {"type": "string", "pattern": r"\.onnx$"}
REPORT: Schema = {  # of export.json: what is read of it
    "type": "object",
    "required": ("graphs", "files"),
    "properties": {
        "graphs": {
            "type": "object",
            "properties": each(("model", "encoder", "decoder"), GRAPH),
            "additionalProperties": False,
        },
        "files": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
        "model": FACTS,
    },
}


@dataclass(frozen=True)
class Export:
    """An exported folder. graphs: the file of each graph by its name. report: all of export.json."""

    folder: Path
    graphs: Mapping[str, str]
    report: Mapping[str, Any]


def read_export(folder: Path) -> Export:
    """The export in a folder that `check_folder` has passed, each of its files as it was written.

    Raises DataError when a file has changed or is missing.
    """
    report = read_json(folder / EXPORT, REPORT)
    files = report["files"]
    if not set(report["graphs"].values()) <= set(files):
        raise DataError(f"'{folder / EXPORT}' is damaged: it has no SHA-256 of each graph", "Export the model again")
    for name, digest in files.items():
        path = folder / Path(name).name
        if not path.is_file() or sha256(path) != digest:
            raise DataError(f"'{path}' is damaged: not the file that was exported", "Copy the whole folder again")
    return Export(folder, report["graphs"], report)


def describe_export(export: Export, *, batch_size: int, length: int) -> dict[str, Any]:
    """What `describe` tells of a model, as it was when it was exported, and the bytes of its graphs in place of its weights.

    Memory to train is 0: graphs cannot be trained. Raises DataError when export.json does not say what the model is.
    """
    facts = export.report.get("model")
    if facts is None:
        raise DataError(f"'{export.folder / EXPORT}' is damaged: it does not say what the model is", "Export the model again")
    size = sum((export.folder / Path(name).name).stat().st_size for name in export.report["files"])
    return {
        **{name: facts[name] for name in KNOWN},
        "bytes_on_disk": size,
        "bytes_in_memory": size,
        "batch_size": batch_size,
        "length": length,
        # as `describe` counts activations
        "memory_to_infer": size + 2 * length * batch_size * (34 * facts["hidden_size"] + 5 * facts["attention_heads"] * length),
        "memory_to_train": 0,
    }
