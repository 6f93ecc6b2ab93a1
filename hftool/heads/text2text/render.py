"""Generated texts as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.heads.rendering import empty_line, one_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool) -> str:
    """Each generated text on a line; see `cli.render.answer_line`."""
    if answer is None:
        return empty_line(0, terminal=terminal)
    return "\n".join(one_line(sample) for sample in answer.get("samples", [answer["text"]]))
