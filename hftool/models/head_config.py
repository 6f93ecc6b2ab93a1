"""hftool.json: the head, labels and settings with which a model was trained, stored in its folder."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError
from hftool.registry.heads import POOLINGS, head_names, head_spec
from hftool.storage.json_documents import Schema, check_document, each
from hftool.storage.run_folder import read_json, write_json
from hftool.storage.stand_ins import STAND_INS, StandIn, as_texts, read_stand_ins

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "numpy", "scikit-learn")
HEAD_CONFIG = "hftool.json"
DAMAGED = "Save the model again, or copy the file as it was written"
MOST_TOKENS = 10**6
SINGLE, SEVERAL = "single_label_classification", "multi_label_classification"
THRESHOLD = 0.5  # the probability from which a row has a label
NUMBER: Schema = {"type": "number"}
# the schema of each field type
OF_TYPES: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 0, "maximum": MOST_TOKENS},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
    tuple[float, ...]: {"type": "array", "items": NUMBER},
    Mapping[str, str]: {"type": "object", "additionalProperties": {"type": "string"}},
    Mapping[str, Any]: {"type": "object"},
    Mapping[str, StandIn]: STAND_INS,
}
# keys that older versions wrote, which are checked and ignored
UNUSED: Mapping[str, Schema] = {"thresholds": {"type": "object", "additionalProperties": NUMBER}}
# what a field must fulfil besides the schema of its type
NARROWER: Mapping[str, Schema] = {
    "problem_type": {"enum": (SINGLE, SEVERAL, "regression", "answer_or_none")},
    "pooling": {"enum": POOLINGS},
    "class_weights": {"items": {"type": "number", "minimum": 0}},
    "label_thresholds": {"items": {"type": "number", "minimum": 0, "maximum": 1}},
    **each(("label_range", "label_scale"), {"maxItems": 2}),
    "metrics": {"additionalProperties": {"type": "object", "required": ("rows",), "additionalProperties": NUMBER}},
}


@dataclass(frozen=True)
class HeadConfig:
    """The settings with which a model must be used to give the output it was trained for."""

    head: str
    task: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()  # label names in id order
    label_values: tuple[str, ...] = ()  # the values of the labels in the training data
    max_length: int = 0  # the most tokens of an input
    prefix: str = ""  # the text put before each input
    problem_type: str = SINGLE
    labels_sep: str = ""  # what stands between the labels of a row that has any number of them
    label_thresholds: tuple[float, ...] = ()  # the probability from which a row has each label; () for THRESHOLD

    base: str = ""
    revision: str = ""
    stand_in: Mapping[str, StandIn] = field(default_factory=dict)  # by kind, "model" or "data"
    class_weights: tuple[float, ...] = ()
    measures: tuple[str, ...] = ()  # the metrics of the task, the deciding one first; empty for those of the head
    max_new_tokens: int = 0  # the most tokens of a generated text
    label_range: tuple[float, ...] = ()  # the smallest and the largest label, for regression
    label_scale: tuple[float, ...] = ()  # the mean and the scale of the standardised labels: prediction = output * scale + mean
    pooling: str = "mean"  # pooling, normalize, pool_prefix: how an embedding is computed, see `SentenceSettings`
    normalize: bool = False
    pool_prefix: bool = True
    # whether texts to tag are split where Thai, Lao, Khmer or Burmese has no spaces; not if whole words were trained on
    split_units: bool = True
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_several(self) -> bool:
        """Whether a row has any number of labels."""
        return self.problem_type == SEVERAL

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The probability from which a row has each label."""
        return self.label_thresholds or (THRESHOLD,) * len(self.labels)

    @property
    def stand_in_texts(self) -> dict[str, str]:
        """The stand-ins as they are shown: {"model": "minilm for bert"}."""
        return as_texts(self.stand_in)


def read_head_config(folder: Path) -> HeadConfig | None:
    """Read the hftool.json of a model folder; None when there is none.

    Raises:
        ConfigError: It has keys of another version of hftool, or no head.
        DataError: It has an invalid value; the key is named.
        InputMissing: It is no JSON object.
        Refused: It is not a regular file.
    """
    path = folder / HEAD_CONFIG
    if not path.exists():
        return None
    values = read_json(path)
    known = {f.name for f in dataclasses.fields(HeadConfig)} | set(UNUSED)
    if "head" not in values or set(values) - known:
        wrong = f"unknown keys {sorted(set(values) - known)}" if "head" in values else "no key 'head'"
        raise ConfigError(f"'{path}' does not fit this version: {wrong}", "It was written by another version of hftool")
    check_document(values, head_config_schema(), path)
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key not in UNUSED}
    head_config = HeadConfig(**fields | {"stand_in": read_stand_ins(values.get("stand_in", {}))})
    fault = _contradiction(head_config)
    if fault:
        raise DataError(f"'{path}' is damaged: {fault}", DAMAGED)
    return head_config


def head_config_schema() -> Schema:
    """The schema of hftool.json, from the field types of `HeadConfig`."""
    fields = dataclasses.fields(HeadConfig)
    narrower = {**NARROWER, "head": {"enum": head_names()}}
    properties = {f.name: {**OF_TYPES[f.type], **narrower.get(f.name, {})} for f in fields}
    return {"type": "object", "properties": {**properties, **UNUSED}}


def _contradiction(head_config: HeadConfig) -> str:
    """How the values of a head config contradict each other; "" if they do not."""
    count, span, scale = len(head_config.labels), head_config.label_range, head_config.label_scale
    if count != len(set(head_config.labels)):
        return "'labels' has a name twice"
    if not count and head_spec(head_config.head).labels and head_config.problem_type != "regression":
        return f"'labels' is empty, and a model that is to {head_config.head} has labels"
    for name in ("label_values", "class_weights", "label_thresholds"):
        items = len(getattr(head_config, name))
        if items not in (0, count):
            return f"'{name}' has {items} items, and 'labels' {count}"
    if span and (len(span) != 2 or span[0] > span[1]):
        return "'label_range' must be the least and the largest number"
    return "'label_scale' must be a mean and a scale above 0" if scale and (len(scale) != 2 or scale[1] <= 0) else ""


def write_head_config(folder: Path, head_config: HeadConfig) -> None:
    """Write hftool.json."""
    write_json(folder / HEAD_CONFIG, dataclasses.asdict(head_config))


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    return {name: version(name) for name in PACKAGES}
