"""Question answering in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/question-answering)."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.answer.head import MAX_CANDIDATES
from hftool.heads.protocol import Answer


class Parameters(TypedDict, total=False):
    """The parameters of a request."""

    top_k: Annotated[int, Field(ge=1, le=MAX_CANDIDATES, description="Above 1: a list of the best candidates.")]


class Span(TypedDict):
    """A span of the context with its character offsets; "" from 0 to 0 where there is no answer."""

    answer: str
    score: float
    start: int
    end: int


def reply(row: Row, answer: Answer, parameters: Parameters) -> Span | list[Span]:
    """The answer; with top_k the best candidates."""
    spans: list[Span] = [
        {"answer": text, "score": one["probability"], "start": one["start"] or 0, "end": one["end"] or 0}
        for text, one in ((answer["answer"], answer), *((one["text"], one) for one in answer["candidates"]))
    ]
    top_k = parameters.get("top_k", 1)
    return spans[1 : 1 + top_k] if top_k > 1 else spans[0]
