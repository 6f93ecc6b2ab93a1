"""Filling masks in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/fill-mask)."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer


class Parameters(TypedDict, total=False):
    """The parameters of a request."""

    top_k: Annotated[int, Field(ge=1, le=100, description="Fills for each mask; by default 5.")]


class Fill(TypedDict):
    """A token for a mask, and the text with it."""

    score: float
    token_str: str
    sequence: str


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[Fill] | list[list[Fill]]:
    """The fills of the mask, each with the filled text; for several masks a list for each."""
    text = row["text"]

    def _fill(mask: Answer, token: str, score: float) -> Fill:
        return {"score": score, "token_str": token, "sequence": text[: mask["start"]] + token + text[mask["end"] :]}

    fills = [[_fill(mask, one["token"], one["probability"]) for one in mask["fills"]] for mask in answer["masks"]]
    return fills[0] if len(fills) == 1 else fills
