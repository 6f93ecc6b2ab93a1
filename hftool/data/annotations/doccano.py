"""doccano's JSON Lines and JSON: texts with labels, with spans, or with both; relations are left out.

Its page makes the offsets, in UTF-16 units.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.annotations.utf16 import from_utf16, to_utf16
from hftool.data.readers.forms import SAMPLE_ROWS, peek
from hftool.data.readers.tables import Record, Row, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.errors import DataError

OURS = ("text", "label", "labels", "entities", "cats", "relations", "Comments", "comments")


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows have a text, and any has triples, entities, or lists of labels with comments beside them."""
    return all(isinstance(row, dict) and isinstance(row.get("text"), str) for row in sample) and any(map(_is_export, sample))


def _is_export(row: Mapping[str, Any]) -> bool:
    marked = _marked(row)
    if "entities" in row and not {"cats", "relations", "Comments"} & row.keys():
        return False  # as of spaCy
    if any(_is_triple(item) or _is_entity(item) for item in (*marked, *_items(row, "annotations"))):
        return True
    return "Comments" in row and bool(marked) and all(isinstance(item, str) for item in marked)


def _items(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    return value if isinstance(value, list) else []


def _marked(row: Mapping[str, Any]) -> list[Any]:
    """The spans and labels of a row."""
    return [item for key in ("entities", "cats", "label", "labels") for item in _items(row, key)]


def _is_triple(item: Any) -> bool:
    return isinstance(item, list) and [type(part) for part in item] == [int, int, str]


def _is_entity(item: Any) -> bool:
    return isinstance(item, dict) and {"label", "start_offset", "end_offset"} <= item.keys()


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of an export. Raises what `annotated_records` raises."""
    sample, rows = peek(rows, SAMPLE_ROWS)
    found = [row for _, row in sample if isinstance(row, dict)]
    if not any(map(_marked, found)) and any(_items(row, "annotations") for row in found):
        what = f"'{source.path}' is of a doccano before 1.0, or its export with numbers for labels"
        raise DataError(what, "Known are the exports of 1.0 to 1.8 with names of labels: export it again")
    with_spans = any("entities" in row or any(map(_is_triple, _marked(row))) for row in found)
    return annotated_records((_document(number, row, with_spans) for number, row in rows), source)


def _document(number: int, row: Any, with_spans: bool) -> Document:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return Document(number, str(row), source=row, reason="no text")
    text, marked = row["text"], _marked(row)
    labels = tuple(item for item in marked if isinstance(item, str))
    columns = {key: value for key, value in row.items() if key not in OURS}
    document = Document(number, text, None, {LABEL: labels} if labels else {}, columns=columns, source=row)
    if not with_spans:
        return document
    spans = [found for item in marked if (found := _span(item)) is not None]
    points, reason = from_utf16(text, spans)
    if len(spans) + len(labels) < len(marked):
        reason = "a span is not its start, its end and its label"
    return replace(document, spans=tuple(points), reason=reason)


def _span(item: Any) -> Span | None:
    """A span in UTF-16 units; None for anything else."""
    if _is_triple(item):
        return Span(*item)
    if _is_entity(item) and type(item["start_offset"]) is type(item["end_offset"]) is int:
        return Span(item["start_offset"], item["end_offset"], str(item["label"]))
    return None


def suggested(document: Document) -> Row:
    """The row with suggestions in place of what is marked, in the form in which it was read."""
    row = dict(document.source) if isinstance(document.source, dict) else {"text": document.text, **document.columns}
    for key in ("labels", "relations"):
        row.pop(key, None)
    labels = [label for found in document.labels.values() for label in found]
    spans = to_utf16(document.text, document.spans or ())
    if any(map(_is_entity, _items(row, "entities"))):
        named = [{"label": span.label, "start_offset": span.start, "end_offset": span.end} for span in spans]
        return row | {"entities": [{"id": i, **entity} for i, entity in enumerate(named)], "relations": []}
    triples = [[span.start, span.end, span.label] for span in spans]
    if "cats" in row:
        return row | ({"cats": labels} if document.spans is None else {"entities": triples})
    return row | {"label": labels if document.spans is None else triples}
