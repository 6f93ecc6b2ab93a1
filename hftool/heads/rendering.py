"""Texts and empty answers as parts of a line: for a person on a terminal, or with tabs for a program."""

from hftool.errors import as_line

SHOWN = 100  # characters of a text after its answer, on a terminal


def one_line(text: str) -> str:
    """A text on one line, its control characters escaped: a terminal would obey them."""
    return as_line(" ".join(text.split()))


def short_line(text: str) -> str:
    """A text on one line, at most SHOWN characters."""
    text = one_line(text)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def empty_line(tabs: int, *, terminal: bool) -> str:
    """The line of an empty text. tabs: how many tabs the line of an answer has."""
    return "-" if terminal else "\t" * tabs
