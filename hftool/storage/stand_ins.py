"""The models and data sets that were used instead of the requested ones, as files of runs and models record them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hftool.storage.json_documents import Schema

SEPARATOR = " for "
NAMES = ("requested", "used")
STAND_INS: Schema = {  # by kind, "model" or "data"; earlier versions stored the text "USED for REQUESTED"
    "type": "object",
    "additionalProperties": {
        "type": ["object", "string"],
        "required": NAMES,
        "properties": {name: {"type": "string"} for name in NAMES},
        "additionalProperties": False,
        "pattern": SEPARATOR,
    },
}


@dataclass(frozen=True)
class StandIn:
    """A model or task that was used instead of the requested one."""

    requested: str
    used: str

    def __str__(self) -> str:
        return f"{self.used}{SEPARATOR}{self.requested}"


def read_stand_ins(stored: Mapping[str, Any]) -> dict[str, StandIn]:
    """The stand-ins of a file by kind, from a value that fits `STAND_INS`."""
    return {kind: _from_text(value) if isinstance(value, str) else StandIn(**value) for kind, value in stored.items()}


def _from_text(text: str) -> StandIn:
    used, _, requested = text.partition(SEPARATOR)
    return StandIn(requested, used)


def as_texts(stand_ins: Mapping[str, StandIn]) -> dict[str, str]:
    """The stand-ins by kind as they are shown: {"model": "minilm for bert"}."""
    return {kind: str(stand_in) for kind, stand_in in stand_ins.items()}
