"""Spans to tags: one for each word of a text, by character offsets."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from hftool.data.annotations.documents import Span
from hftool.data.schema import excerpt
from hftool.data.tag_schemes import OUTSIDE
from hftool.data.word_splitting import word_offsets


@dataclass(frozen=True)
class TaggedText:
    """The words of a text with their tags.

    Attributes:
        tokens: The words.
        tags: The tag of each.
        overlapping: How many spans overlap a longer one and were left out.
        widened: Each span that was widened to the whole words that it covers in part, for a notice.
    """

    tokens: list[str]
    tags: list[str]
    overlapping: int
    widened: tuple[str, ...] = ()


def check_spans(text: str, spans: Sequence[Span]) -> str:
    """The reason why spans do not belong to a text, "" if they do."""
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            return f"{_named(span)} is outside of its text of {len(text)} characters"
        found = text[span.start : span.end]
        if span.text and _bare(found) != _bare(span.text):
            return f"{_named(span)} was '{excerpt(span.text)}' and is now '{excerpt(found)}': the text has changed"
    return ""


def tag_words(text: str, spans: Sequence[Span], *, widen: bool = False) -> tuple[TaggedText | None, str]:
    """The words of a text and their tags in IOB2 -> (tagged text, ""), or (None, reason) where a span splits a word.

    Of overlapping spans the longest is kept, the first of equal ones. White space around a span is not part of it.
    widen: a span that splits a word includes all of it.
    """
    offsets = word_offsets(text)
    tags = [OUTSIDE] * len(offsets)
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    distinct = list({(span.start, span.end, span.label): span for span in spans}.values())
    overlapping, widened = 0, list[str]()
    for span in sorted(distinct, key=lambda one: (one.start - one.end, one.start)):
        if len(span.parts) > 1:
            return None, f"{_named(span)} has {len(span.parts)} parts, and tags have one"
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end) - 1
        if first > last:
            return None, f"{_named(span)} covers no word"
        split = next((i for i in (first, last) if starts[i] < span.start or ends[i] > span.end), None)
        if any(tag != OUTSIDE for tag in tags[first : last + 1]):
            overlapping += 1
        else:
            if split is not None:
                widened.append(f"{_named(span)} splits the word '{excerpt(text[starts[split] : ends[split]])}'")
                if not widen:
                    return None, widened[-1]
            tags[first : last + 1] = [f"B-{span.label}"] + [f"I-{span.label}"] * (last - first)
    return TaggedText([text[start:end] for start, end in offsets], tags, overlapping, tuple(widened)), ""


def _named(span: Span) -> str:
    return f"the span {span.start}-{span.end} '{excerpt(span.label)}'"


def _bare(text: str) -> str:
    """A text without white space, which tools normalise."""
    return "".join(text.split())
