"""The key of the annotated text, in the exports of tools that leave its name to the project."""

from collections.abc import Mapping, Sequence
from typing import Any

from hftool.data.annotations.documents import Span

USUAL = "text"


def find_text_key(rows: Sequence[tuple[Mapping[str, Any], Sequence[Span]]]) -> str:
    """The key under which most spans are where they say, else "text", else that of the longest texts; "" if there is none."""
    scores: dict[str, list[int]] = {}
    for data, spans in rows:
        for key, value in data.items():
            if isinstance(value, str):
                score = scores.setdefault(key, [0, int(key == USUAL), 0])
                score[0] += sum(bool(span.text) and value[span.start : span.end] == span.text for span in spans)
                score[2] += len(value)
    return max(scores, key=lambda key: scores[key], default="")
