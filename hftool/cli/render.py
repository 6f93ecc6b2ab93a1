"""Answers as lines: aligned on a terminal, separated by tabs in a pipe."""

import sys
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
SHOWN = 100  # characters of a text behind its answer, on a terminal
FIRST_DIMENSIONS = 4  # of an embedding, on a terminal


def on_screen() -> bool:
    """True when a person reads the answers."""
    return sys.stdout is not None and sys.stdout.isatty()


def one(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def short(text: str) -> str:
    """A text on one line, cut for the eye."""
    text = one(text)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def nothing(tabs: int) -> str:
    """The line of an empty text."""
    return "-" if on_screen() else "\t" * tabs


def label_line(text: str, answer: Answer | None, loaded: Any, *, top_k: int = 1) -> str:
    """label, probability and text; or the number and the text."""
    if answer is None:
        return nothing(1 if loaded.head_config.problem_type == "regression" else 2 * min(top_k, len(loaded.head_config.labels)))
    if "score" in answer:
        return f"{answer['score']:8.4f}  {short(text)}" if on_screen() else f"{answer['score']:.6f}\t{one(text)}"
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top_k]
    if not on_screen():
        return "\t".join(f"{name}\t{chance:.4f}" for name, chance in ranked) + "\t" + one(text)
    width = max(map(len, loaded.head_config.labels))
    return "  ".join(f"{name:<{width}} {chance:.4f}" for name, chance in ranked) + "  " + short(text)


def entity_line(text: str, answer: Answer | None, _loaded: Any) -> str:
    """The text, then its entities with their types, probabilities and character offsets, or `no entities`."""
    if answer is None:
        return nothing(1)
    found = [f"{e['type']}: {one(e['text'])} {e['probability']:.2f} ({e['start']}-{e['end']})" for e in answer["entities"]]
    return one(text) + ("   " if on_screen() else "\t") + ("; ".join(found) or "no entities")


def span_line(text: str, answer: Answer | None, _loaded: Any) -> str:
    """The answer, its probability and its character offsets in the context, and the question."""
    if answer is None:
        return nothing(3)
    if answer["start"] is None:
        parts = ["no answer", f"{answer['probability']:.4f}", ""]
    else:
        parts = [one(answer["answer"]), f"{answer['probability']:.4f}", f"{answer['start']}-{answer['end']}"]
    return "  ".join((*parts, short(text))) if on_screen() else "\t".join((*parts, one(text)))


def text_line(_text: str, answer: Answer | None, _loaded: Any) -> str:
    """What was written, a line each: texts of several samples after one another."""
    if answer is None:
        return nothing(0)
    return "\n".join(one(text) for text in answer.get("samples", [answer["text"]]))


def fill_line(text: str, answer: Answer | None, _loaded: Any) -> str:
    """A line for each word that may stand for a mask: probability, word, and the text with it."""
    if answer is None:
        return nothing(2)
    lines = []
    for mask in answer["masks"]:
        for fill in mask["fills"]:
            filled = text[: mask["start"]] + fill["token"] + text[mask["end"] :]
            parts = (f"{fill['probability']:.4f}", fill["token"])
            lines.append(f"{parts[0]}  {parts[1]:<14}  {short(filled)}" if on_screen() else "\t".join((*parts, one(filled))))
    return "\n".join(lines)


def vector_line(text: str, answer: Answer | None, _loaded: Any) -> str:
    """For a person the beginning of the vector, for a program all of it, before the text."""
    if answer is None:
        return nothing(1)
    numbers = [f"{value:.6g}" for value in answer["embedding"]]
    if not on_screen():
        return " ".join(numbers) + "\t" + one(text)
    return f"[{' '.join(numbers[:FIRST_DIMENSIONS])} ... {len(numbers)} numbers]  {short(text)}"


LINES: dict[str, Callable[[str, Answer | None, Any], str]] = {
    "classify": label_line,
    "tag": entity_line,
    "answer": span_line,
    "text2text": text_line,
    "generate": text_line,
    "fill": fill_line,
    "embed": vector_line,
}
