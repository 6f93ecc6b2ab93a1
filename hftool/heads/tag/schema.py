"""A tagger in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/token-classification)."""

from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer


class Parameters(TypedDict, total=False):
    """The parameters of a request: none."""


class Entity(TypedDict):
    """An entity with its character offsets."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[Entity]:
    """The entities, in the order of the text."""
    return [
        {"entity_group": e["type"], "score": e["probability"], "word": e["text"], "start": e["start"], "end": e["end"]}
        for e in answer["entities"]
    ]
