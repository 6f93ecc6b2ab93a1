"""A classifier in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/text-classification)."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer
from hftool.models import HeadConfig


class Parameters(TypedDict, total=False):
    """The parameters of a request."""

    top_k: Annotated[int, Field(ge=1, le=2**31, description="Only the K most probable labels.")]


class Label(TypedDict):
    """A label with its probability; a number has the label LABEL_0, as in transformers."""

    label: str
    score: float


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[Label]:
    """Labels with their scores, best first; or the number."""
    if "score" in answer:
        return [{"label": "LABEL_0", "score": answer["score"]}]
    best = sorted(answer["probabilities"].items(), key=lambda pair: pair[1], reverse=True)
    return [{"label": label, "score": score} for label, score in best[: parameters.get("top_k")]]


class OneOfSeveral(TypedDict):
    """A label of a text that has any number of them, with its probability, and whether the text has it."""

    label: str
    score: float
    selected: bool  # whether the probability reaches the threshold of the label


def reply_of_several(row: Row, answer: Answer, parameters: Parameters) -> list[OneOfSeveral]:
    """All labels with their probabilities, best first, and which of them the text has."""
    best = sorted(answer["probabilities"].items(), key=lambda pair: pair[1], reverse=True)[: parameters.get("top_k")]
    return [{"label": label, "score": score, "selected": label in answer["labels"]} for label, score in best]


def reply_for(head_config: HeadConfig) -> Callable[[Row, Answer, Parameters], Any]:
    """The function that makes the reply of a model."""
    return reply_of_several if head_config.has_several else reply
