"""Answers to questions as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.heads.rendering import empty_line, one_line, short_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool) -> str:
    """The answer, its probability, its character offsets in the context, and the question; see `cli.render.answer_line`."""
    if answer is None:
        return empty_line(3, terminal=terminal)
    if answer["start"] is None:
        parts = ["no answer", f"{answer['probability']:.4f}", ""]
    else:
        parts = [one_line(answer["answer"]), f"{answer['probability']:.4f}", f"{answer['start']}-{answer['end']}"]
    return "  ".join((*parts, short_line(text))) if terminal else "\t".join((*parts, one_line(text)))
