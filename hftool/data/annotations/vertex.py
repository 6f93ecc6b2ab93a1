"""Vertex AI's JSON Lines for text: entities by segments, or a class. Offsets are strings in JSON, and count code points."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.json_values import as_dict, as_list
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.readers.tables import Record, Row, Source
from hftool.data.readers.token_per_row import Numbered

SEGMENTS, CLASS, CLASSES = "textSegmentAnnotations", "classificationAnnotation", "classificationAnnotations"
PURPOSE = "aiplatform.googleapis.com/ml_use"  # of a row: training, validation or test


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows have a text as Vertex AI calls it, and any has annotations."""
    rows = [row for row in sample if isinstance(row, dict) and ("textContent" in row or "textGcsUri" in row)]
    return len(rows) == len(sample) and any({SEGMENTS, CLASS, CLASSES} & row.keys() for row in rows)


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of a data set. Raises what `annotated_records` raises."""
    return annotated_records((_document(number, row) for number, row in rows), source)


def _document(number: int, row: Any) -> Document:
    text = row.get("textContent") if isinstance(row, dict) else None
    if not isinstance(text, str):
        where = (
            "its text is in Cloud Storage, textGcsUri" if isinstance(row, dict) and "textGcsUri" in row else "no textContent"
        )
        return Document(number, str(row), source=row, reason=where)
    classes = [row[CLASS]] if isinstance(row.get(CLASS), dict) else as_list(row.get(CLASSES))
    labels = tuple(str(item["displayName"]) for item in classes if isinstance(item, dict) and "displayName" in item)
    found = row.get(SEGMENTS)
    spans = [_span(item) for item in found] if isinstance(found, list) else None
    return Document(
        number,
        text,
        None if spans is None else tuple(span for span in spans if span),
        {LABEL: labels} if labels else {},
        columns={"ml_use": use} if (use := as_dict(row.get("dataItemResourceLabels")).get(PURPOSE)) else {},
        source=row,
        reason="" if all(spans or ()) else "a segment without startOffset, endOffset and displayName",
    )


def _span(item: Any) -> Span | None:
    """A segment; None for anything else. An offset of 0 may be left out, as protocol buffers write it."""
    if not isinstance(item, Mapping) or "endOffset" not in item or "displayName" not in item:
        return None
    try:
        return Span(int(item.get("startOffset", 0)), int(item["endOffset"]), str(item["displayName"]))
    except (TypeError, ValueError):
        return None


def suggested(document: Document) -> Row:
    """The row with suggestions in place of its annotations."""
    source = document.source if isinstance(document.source, dict) else {"textContent": document.text}
    row = {key: value for key, value in source.items() if key not in (SEGMENTS, CLASS, CLASSES)}
    label = next((labels[0] for labels in document.labels.values() if labels), None)
    if label is not None:
        return row | {CLASS: {"displayName": label}}
    found = [
        {"startOffset": str(span.start), "endOffset": str(span.end), "displayName": span.label} for span in document.spans or ()
    ]
    return row | {SEGMENTS: found}
