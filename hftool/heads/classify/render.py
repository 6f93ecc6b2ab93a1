"""Labels and numbers as lines."""

from collections.abc import Mapping
from typing import Any

from hftool.errors import as_line
from hftool.heads.rendering import empty_line, one_line, short_line


def line(text: str, answer: Mapping[str, Any] | None, head_config: Any, *, terminal: bool, top_k: int = 0) -> str:
    """The top_k labels with their probabilities, or the number, and the text; see `cli.render.answer_line`.

    By default one label, or those over their thresholds where a row has any number.
    """
    if head_config.has_several and not top_k:
        return _several(text, answer, head_config.labels_sep or "|", terminal=terminal)
    top_k = top_k or 1
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


def _several(text: str, answer: Mapping[str, Any] | None, separator: str, *, terminal: bool) -> str:
    """The labels over their thresholds, the most probable first; in a pipe joined, and so their probabilities."""
    if answer is None:
        return empty_line(2, terminal=terminal)
    chances = answer["probabilities"]
    ranked = [(as_line(name), chances[name]) for name in sorted(answer["labels"], key=lambda name: -chances[name])]
    if terminal:
        return ("  ".join(f"{name} {chance:.4f}" for name, chance in ranked) or "-") + "  " + short_line(text)
    parts = separator.join(name for name, _ in ranked), separator.join(f"{chance:.4f}" for _, chance in ranked)
    return "\t".join([*parts, one_line(text)])
