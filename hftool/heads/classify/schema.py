"""A classifier in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/text-classification)."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer


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
