"""The card of a model: what it needs to be used as it was trained, written beside it as hftool.json."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError
from hftool.run import read_json, write_json

CARD = "hftool.json"


@dataclass(frozen=True)
class Card:
    """What a model needs to be used as it was trained.

    labels: names in id order; label_values: what stood for them in the data. measures: the metrics of the task, the first of
    which decides; empty for those of the head. max_new_tokens: of an answer that is written. label_range: the least and the
    largest number in the data, where the label is one. stand_in: which model answers in another's name, if one does.
    split_units: whether a text to be tagged is split where Thai, Lao, Khmer or Burmese have no spaces; not where words of them
    were learnt.
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
    pooling: str = "mean"
    split_units: bool = True
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def read_card(folder: Path) -> Card | None:
    """The card of a model folder, or None when it was not made by hftool. Raises ConfigError when it does not fit."""
    if not (folder / CARD).is_file():
        return None
    values = read_json(folder / CARD)
    known = {f.name for f in dataclasses.fields(Card)}
    if "head" not in values or set(values) - known:
        wrong = f"unknown keys {sorted(set(values) - known)}" if "head" in values else "no key 'head'"
        raise ConfigError(
            f"'{folder / CARD}' does not fit this version: {wrong}", "It was written by another version of hftool"
        )
    made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return Card(**made)


def write_card(folder: Path, card: Card) -> None:
    """Write hftool.json."""
    write_json(folder / CARD, dataclasses.asdict(card))
