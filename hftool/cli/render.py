"""Answers as lines: aligned on a terminal, separated by tabs in a pipe. The head of the model renders them."""

import sys
from typing import Any

from hftool.registry.heads import head_spec

Answer = dict[str, Any]


def on_screen() -> bool:
    """True when a person reads the answers."""
    return sys.stdout is not None and sys.stdout.isatty()


def answer_line(text: str, answer: Answer | None, loaded: Any, **options: Any) -> str:
    """Render an answer, None for an empty text; `options`, such as top_k, go to `render.line` of the head."""
    render = head_spec(loaded.head_config.head).module("render")
    line: str = render.line(text, answer, loaded.head_config, terminal=on_screen(), **options)
    return line
