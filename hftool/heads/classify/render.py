"""Labels and numbers as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.errors import as_line
from hftool.heads.rendering import empty_line, one_line, short_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool, top_k: int = 1) -> str:
    """The top_k labels with their probabilities, or the number, and the text; see `cli.render.answer_line`."""
    if answer is None:
        is_number = head_config.problem_type == "regression"
        return empty_line(1 if is_number else 2 * min(top_k, len(head_config.labels)), terminal=terminal)
    if "score" in answer:
        return f"{answer['score']:8.4f}  {short_line(text)}" if terminal else f"{answer['score']:.6f}\t{one_line(text)}"
    ranked = [(as_line(name), p) for name, p in sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top_k]]
    if not terminal:
        return "\t".join(f"{name}\t{probability:.4f}" for name, probability in ranked) + "\t" + one_line(text)
    width = max(len(as_line(name)) for name in head_config.labels)
    return "  ".join(f"{name:<{width}} {probability:.4f}" for name, probability in ranked) + "  " + short_line(text)
