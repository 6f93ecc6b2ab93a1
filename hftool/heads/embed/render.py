"""Embeddings as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.heads.rendering import empty_line, one_line, short_line

FIRST_DIMENSIONS = 4  # of an embedding, on a terminal


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool) -> str:
    """The embedding, on a terminal only its first dimensions, and the text; see `cli.render.answer_line`."""
    if answer is None:
        return empty_line(1, terminal=terminal)
    numbers = [f"{value:.6g}" for value in answer["embedding"]]
    if not terminal:
        return " ".join(numbers) + "\t" + one_line(text)
    return f"[{' '.join(numbers[:FIRST_DIMENSIONS])} ... {len(numbers)} numbers]  {short_line(text)}"
