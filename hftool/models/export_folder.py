"""An exported model folder, whose weights are in ONNX graphs: its export.json, and its description without opening a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.models.safety import EXPORT
from hftool.storage.checksums import compare_folder
from hftool.storage.json_documents import Schema, each
from hftool.storage.run_folder import COUNT, read_json

COUNTS = ("layers", "hidden_size", "attention_heads", "vocabulary", "parameters")
FACTS: Schema = {  # the result of `describe` when the model was exported
    "type": "object",
    "required": ("architecture", "family", *COUNTS, "parameters_by_part"),
    "properties": {
        "architecture": {"type": "string"},
        "family": {"type": "string"},
        **each(COUNTS, COUNT),
        "parameters_by_part": {"type": "object", "additionalProperties": COUNT},
    },
}
REQUIRED_FACTS: tuple[str, ...] = FACTS["required"]
GRAPH: Schema = {"type": "string", "pattern": r"\.onnx$"}
REPORT: Schema = {  # the keys of export.json that are read
    "type": "object",
    "required": ("graphs", "files"),
    "properties": {
        "graphs": {"type": "object", "properties": each(("model", "encoder", "decoder"), GRAPH), "additionalProperties": False},
        "files": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
        "model": FACTS,
    },
}


@dataclass(frozen=True)
class Export:
    """An exported folder: the file of each graph by its name, and the content of export.json."""

    folder: Path
    graphs: Mapping[str, str]
    report: Mapping[str, Any]


def read_export(folder: Path) -> Export:
    """Read the export in a checked folder, and verify its files. Raises DataError when one has changed or is missing."""
    report = read_json(folder / EXPORT, REPORT)
    files = report["files"]
    if not set(report["graphs"].values()) <= set(files):
        raise DataError(f"'{folder / EXPORT}' is damaged: it has no SHA-256 of each graph", "Export the model again")
    diff = compare_folder(folder, {Path(name).name: digest for name, digest in files.items()})
    for name in diff.damaged:
        raise DataError(f"'{folder / name}' is damaged: not the file that was exported", "Copy the whole folder again")
    return Export(folder, report["graphs"], report)


def describe_export(export: Export, *, batch_size: int, length: int) -> dict[str, Any]:
    """What `describe` returned when the model was exported, with the bytes of the graphs as those of the weights.

    `memory_to_train` is 0: graphs cannot be trained. Raises DataError when export.json has no description.
    """
    facts = export.report.get("model")
    if facts is None:
        raise DataError(f"'{export.folder / EXPORT}' is damaged: it does not describe the model", "Export the model again")
    size = sum((export.folder / Path(name).name).stat().st_size for name in export.report["files"])
    return {
        **{name: facts[name] for name in REQUIRED_FACTS},
        "bytes_on_disk": size,
        "bytes_in_memory": size,
        "batch_size": batch_size,
        "length": length,
        # activations as in `describe`
        "memory_to_infer": size + 2 * length * batch_size * (34 * facts["hidden_size"] + 5 * facts["attention_heads"] * length),
        "memory_to_train": 0,
    }
