"""Fills of masks as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.errors import as_line
from hftool.heads.rendering import empty_line, one_line, short_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool) -> str:
    """A line for each fill of each mask: probability, token, and the filled text; see `cli.render.answer_line`."""
    if answer is None:
        return empty_line(2, terminal=terminal)
    lines = []
    for mask in answer["masks"]:
        for fill in mask["fills"]:
            filled = text[: mask["start"]] + fill["token"] + text[mask["end"] :]
            parts = (f"{fill['probability']:.4f}", as_line(fill["token"]))
            on_terminal = f"{parts[0]}  {parts[1]:<14}  {short_line(filled)}"
            lines.append(on_terminal if terminal else "\t".join((*parts, one_line(filled))))
    return "\n".join(lines)
