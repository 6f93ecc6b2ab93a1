"""Offsets in UTF-16 units, as the pages of annotation tools count, and in code points, as Python does."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

from hftool.data.annotations.documents import Span


def _units(text: str) -> list[int]:
    """The UTF-16 offset of each code point offset from 0 to len(text)."""
    return list(accumulate((1 + (letter > "\uffff") for letter in text), initial=0))


def to_utf16(text: str, spans: Iterable[Span]) -> list[Span]:
    """Spans of a text with their offsets in UTF-16 units."""
    if text.isascii() or max(text) <= "\uffff":
        return list(spans)
    units = _units(text)
    return [replace(span, start=units[span.start], end=units[span.end]) for span in spans]


def from_utf16(text: str, spans: Iterable[Span]) -> tuple[list[Span], str]:
    """Spans with offsets in UTF-16 units -> (spans in code points, ""), or ([], reason).

    The reason is that an offset is inside of a character. Offsets outside of the text stay outside.
    """
    found = list(spans)
    if text.isascii() or max(text) <= "\uffff":
        return found, ""
    points = {unit: point for point, unit in enumerate(_units(text))}
    most = max(points)
    beyond = {offset: len(text) + offset - most for span in found for offset in (span.start, span.end) if offset > most}
    points |= beyond | {offset: offset for span in found for offset in (span.start, span.end) if offset < 0}
    for span in found:
        if span.start not in points or span.end not in points:
            return [], f"the span {span.start}-{span.end} '{span.label}' begins or ends inside of a character"
    return [replace(span, start=points[span.start], end=points[span.end]) for span in found], ""
