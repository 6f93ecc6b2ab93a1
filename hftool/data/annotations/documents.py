"""Texts with the spans and the labels that people marked in an annotation tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Span:
    """A marked part of a text.

    Attributes:
        start: First character, in code points.
        end: Character after the last, in code points.
        label: Its type.
        text: The marked text as the file repeats it, "" if it does not.
        parts: Start and end of each part of a discontinuous span.
        probability: Of a suggestion.
    """

    start: int
    end: int
    label: str
    text: str = ""
    parts: tuple[tuple[int, int], ...] = ()
    probability: float | None = None


@dataclass(frozen=True)
class Document:
    """A text of an annotation project.

    Attributes:
        number: Line or position in the file, from 1.
        text: The text.
        spans: Its spans; None where the project marks none, or this text was not annotated.
        labels: Its labels by the name of the question, "label" where there is one question only.
        annotator: Who marked it, "" where the file does not say.
        key: The same for the annotations of one text by several annotators.
        columns: What else the file says about it.
        source: The object as it was read, for writing it back.
        reason: Why it cannot be used, "" if it can.
        probability: Of a suggested label.
        form: The name of the format that it was read in.
    """

    number: int
    text: str
    spans: tuple[Span, ...] | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    annotator: str = ""
    key: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    source: Any = None
    reason: str = ""
    probability: float | None = None
    form: str = ""

    @property
    def is_annotated(self) -> bool:
        """Whether there is a decision, even that nothing is to be marked."""
        return self.spans is not None or bool(self.labels)
