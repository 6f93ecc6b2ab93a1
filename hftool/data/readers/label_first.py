"""Lines of a class and a text, such as TREC's "DESC:manner How ..." or "0 a dull film", to rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hftool.data.readers.plain_text import NAMED_CLASS, leading_classes
from hftool.data.readers.tables import Record, Rejected, Source
from hftool.data.readers.token_per_row import Numbered


def detect(sample: Sequence[Any]) -> bool:
    """Whether rows of lines are of a class and a text."""
    return bool(leading_classes([line for row in sample if (line := str(row.get("text") or "")).strip()]))


def read(rows: Iterable[Numbered], source: Source) -> Iterator[Record]:
    """The rows of lines: label and text, and coarse_label where the label has one before a colon."""
    for number, row in rows:
        line = "" if row is None else str(row["text"])
        label, _, text = line.strip().partition(" ")
        if not label:
            continue
        if not text.strip():
            source.rejected.append(Rejected(number, "a class without a text", line[:1000]))
            continue
        coarse = {"coarse_label": label.partition(":")[0]} if NAMED_CLASS.fullmatch(label) else {}
        yield Record(number, {"label": label, **coarse, "text": text.strip()})
