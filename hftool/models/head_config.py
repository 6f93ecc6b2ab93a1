"""The card of a model: what it needs to be used as it was trained, written beside it as hftool.json."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError
from hftool.registry.heads import head_names, head_spec
from hftool.storage.json_documents import Schema, check_document, each
from hftool.storage.run_folder import read_json, write_json

HEAD_CONFIG = "hftool.json"
DAMAGED = "Save the model again, or copy the file as it was written"
MOST_TOKENS = 10**6
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
NUMBER: Schema = {"type": "number"}
# the schema of a field by its type
OF_TYPES: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 0, "maximum": MOST_TOKENS},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
    tuple[float, ...]: {"type": "array", "items": NUMBER},
    Mapping[str, str]: {"type": "object", "additionalProperties": {"type": "string"}},
    Mapping[str, float]: {"type": "object", "additionalProperties": NUMBER},
    Mapping[str, Any]: {"type": "object"},
}
# what a field must be besides its type
NARROWER: Mapping[str, Schema] = {
    "problem_type": {
        "type": "string",
        "enum": ("single_label_classification", "multi_label_classification", "regression", "answer_or_none"),
    },
    "pooling": {"type": "string", "enum": POOLINGS},
    "class_weights": {"type": "array", "items": {"type": "number", "minimum": 0}},
    **each(("label_range", "label_scale"), {"type": "array", "items": NUMBER, "maxItems": 2}),
    "metrics": {
        "type": "object",
        "additionalProperties": {"type": "object", "required": ("rows",), "additionalProperties": NUMBER},
    },
}


@dataclass(frozen=True)
class HeadConfig:
    """What a model needs to be used as it was trained.

    labels: names in id order; label_values: what stood for them in the data. measures: the metrics of the task, the first of
    which decides; empty for those of the head. max_new_tokens: of an answer that is written. label_range: the least and the
    largest number in the data, where the label is one. label_scale: the mean and the scale by which numbers were standardised
    in training: an answer is the output times the scale plus the mean. stand_in: which model answers in another's name, if one
    does. pooling, normalize, pool_prefix: how a vector is made, as `models/sentences.py` has it. split_units: whether a text to
    be tagged is split where Thai, Lao, Khmer or Burmese have no spaces; not where words of them were learnt.
    """

    head: str
    task: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    label_values: tuple[str, ...] = ()
    max_length: int = 0
    prefix: str = ""
    problem_type: str = "single_label_classification"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    base: str = ""
    revision: str = ""
    stand_in: Mapping[str, str] = field(default_factory=dict)
    class_weights: tuple[float, ...] = ()
    measures: tuple[str, ...] = ()
    max_new_tokens: int = 0
    label_range: tuple[float, ...] = ()
    label_scale: tuple[float, ...] = ()
    pooling: str = "mean"
    normalize: bool = False
    pool_prefix: bool = True
    split_units: bool = True
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def read_head_config(folder: Path) -> HeadConfig | None:
    """Read the card of a model folder.

    Returns:
        The card, or None when the folder was not made by hftool.

    Raises:
        ConfigError: it has keys of another version of hftool, or no head.
        DataError: it has a value that no card can have; the key is named.
        InputMissing: it is no JSON object.
        Refused: it is not a plain file.
    """
    path = folder / HEAD_CONFIG
    if not path.exists():
        return None
    values = read_json(path)
    known = {f.name for f in dataclasses.fields(HeadConfig)}
    if "head" not in values or set(values) - known:
        wrong = f"unknown keys {sorted(set(values) - known)}" if "head" in values else "no key 'head'"
        raise ConfigError(f"'{path}' does not fit this version: {wrong}", "It was written by another version of hftool")
    check_document(values, head_config_schema(), path)
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    head_config = HeadConfig(**fields)
    fault = _contradiction(head_config)
    if fault:
        raise DataError(f"'{path}' is damaged: {fault}", DAMAGED)
    return head_config


def head_config_schema() -> Schema:
    """The schema of hftool.json, made of the types of the fields of `HeadConfig`."""
    fields = dataclasses.fields(HeadConfig)
    narrower = {**NARROWER, "head": {"enum": head_names()}}
    return {"type": "object", "properties": {f.name: {**OF_TYPES[f.type], **narrower.get(f.name, {})} for f in fields}}


def _contradiction(head_config: HeadConfig) -> str:
    """What of a card does not go together with the rest of it; empty where all does."""
    count = len(head_config.labels)
    if count != len(set(head_config.labels)):
        return "'labels' has a name twice"
    if not count and head_spec(head_config.head).labels and head_config.problem_type != "regression":
        return f"'labels' is empty, and a model that is to {head_config.head} has labels"
    for name in ("label_values", "class_weights"):
        if getattr(head_config, name) and len(getattr(head_config, name)) != count:
            return f"'{name}' has {len(getattr(head_config, name))} items, and 'labels' {count}"
    if head_config.label_range and (
        len(head_config.label_range) != 2 or head_config.label_range[0] > head_config.label_range[1]
    ):
        return "'label_range' must be the least and the largest number"
    if head_config.label_scale and (len(head_config.label_scale) != 2 or head_config.label_scale[1] <= 0):
        return "'label_scale' must be a mean and a scale above 0"
    return ""


def write_head_config(folder: Path, head_config: HeadConfig) -> None:
    """Write hftool.json."""
    write_json(folder / HEAD_CONFIG, dataclasses.asdict(head_config))
