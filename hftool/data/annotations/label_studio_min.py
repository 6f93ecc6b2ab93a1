"""Label Studio's JSON_MIN and CSV: a row for each annotation, with spans and answers as values of its columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.json_values import as_list, offsets_of
from hftool.data.annotations.records import annotated_records
from hftool.data.annotations.text_keys import find_text_key
from hftool.data.readers.forms import SAMPLE_ROWS, peek
from hftool.data.readers.tables import Record, Source
from hftool.data.readers.token_per_row import Numbered

OURS = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")


def detect(sample: Sequence[Any]) -> bool:
    """Whether rows have the columns that Label Studio adds."""
    return all(isinstance(row, dict) and {"annotation_id", "annotator", "lead_time"} <= row.keys() for row in sample)


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of an export. Raises what `annotated_records` raises."""
    sample, rows = peek(rows, SAMPLE_ROWS)
    found = [(row, [span for value in row.values() for span in _spans(value) or ()]) for _, row in sample if row]
    key, with_spans = find_text_key(found), any(spans for _, spans in found)
    return annotated_records((_document(number, row, key, with_spans) for number, row in rows if row is not None), source)


def _value(cell: Any) -> Any:
    """A cell; a list or an object where it is one in JSON."""
    if not isinstance(cell, str) or cell[:2] not in ("[{", '{"'):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _spans(cell: Any) -> list[Span] | None:
    """The spans of a cell; None if it has none."""
    value = _value(cell)
    items = [item for item in as_list(value) if isinstance(item, dict)]
    if not items or not all({"start", "end", "labels"} <= item.keys() for item in items):
        return None
    found = [(offsets_of(item), item) for item in items]
    return [Span(*at, str(label), str(item.get("text") or "")) for at, item in found for label in as_list(item["labels"])]


def _answers(cell: Any) -> tuple[str, ...]:
    """The answers of a cell: one word, several choices, a rating, or none."""
    value = _value(cell)
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return tuple(map(str, value["choices"]))
    if isinstance(value, list):
        found = (item.get("rating", item.get("number")) if isinstance(item, dict) else item for item in value)
        return tuple(str(item) for item in found if item is not None)
    return () if value is None or value == "" else (str(value),)


def _document(number: int, row: Mapping[str, Any], key: str, with_spans: bool) -> Document:
    text = row.get(key) if isinstance(row, dict) else None
    if not isinstance(text, str):
        return Document(number, str(row), source=row, reason=f"no text under {key or 'text'}")
    others = {name: cell for name, cell in row.items() if name not in (key, *OURS, "id")}
    who, task = row.get("annotator"), row.get("id")
    document = Document(number, text, columns={"id": task}, source=row, key=str(task or ""), annotator=str(who or ""))
    if row.get("annotation_id") in (None, ""):
        return document
    marked = [found for cell in others.values() if (found := _spans(cell)) is not None]
    spans = tuple(span for found in marked for span in found) if with_spans else None
    labels = {name: _answers(cell) for name, cell in others.items() if _spans(cell) is None}
    return replace(document, spans=spans, labels=labels)
