"""Embeddings in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/feature-extraction)."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer
from hftool.registry.heads import POOLINGS


class Parameters(TypedDict, total=False):
    """The parameters of a request."""

    pooling: Annotated[Literal[POOLINGS], Field(description="How tokens become a vector.")]  # type: ignore[valid-type]
    normalize: Annotated[bool, Field(description="True: vectors of length 1.")]


class Similarity(TypedDict):
    """The score of a pair of texts."""

    score: float


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[float] | Similarity:
    """The vector of a text, or the score of a pair."""
    if "score" in answer:
        return {"score": answer["score"]}
    vector = answer["embedding"]
    if parameters.get("normalize"):
        vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return list(vector.tolist())
