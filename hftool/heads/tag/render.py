"""Entities as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.errors import as_line
from hftool.heads.rendering import empty_line, one_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool) -> str:
    """The text, then its entities with types, probabilities and character offsets; see `cli.render.answer_line`."""
    if answer is None:
        return empty_line(1, terminal=terminal)
    found = [
        f"{as_line(e['type'])}: {one_line(e['text'])} {e['probability']:.2f} ({e['start']}-{e['end']})"
        for e in answer["entities"]
    ]
    return one_line(text) + ("   " if terminal else "\t") + ("; ".join(found) or "no entities")
