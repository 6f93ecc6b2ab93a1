"""spaCy's training examples in JSON: pairs of a text and its entities, or objects with both. Offsets are code points."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import annotated_records
from hftool.data.readers.tables import Record, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.data.writers import write_rows


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows are examples, or the one row holds them under "annotations", as some pages write them."""
    rows = _examples(sample)
    return all(_parts(row) is not None for row in rows) and any(_entities(row) for row in rows)


def _examples(rows: Sequence[Any]) -> Sequence[Any]:
    first = rows[0] if len(rows) == 1 else None
    inner = first.get("annotations") if isinstance(first, dict) and "classes" in first else None
    return [row for row in inner if row is not None] if isinstance(inner, list) else rows


def _parts(row: Any) -> tuple[str, Mapping[str, Any]] | None:
    """The text and the annotation of an example; None for anything else."""
    if isinstance(row, dict) and isinstance(row.get("text"), str) and isinstance(row.get("entities"), list):
        return row["text"], row
    if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict):
        return (row[0], row[1]) if isinstance(row[1].get("entities"), list) else None
    return None


def _entities(row: Any) -> list[Any]:
    parts = _parts(row)
    return [item for item in parts[1]["entities"] if _is_entity(item)] if parts else []


def _is_entity(item: Any) -> bool:
    return isinstance(item, list) and len(item) >= 3 and [type(part) for part in item[:3]] == [int, int, str]


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of examples. Raises what `annotated_records` raises."""
    found = _examples([row for _, row in rows])
    return annotated_records((_document(number, row) for number, row in enumerate(found, start=1)), source)


def _document(number: int, row: Any) -> Document:
    parts = _parts(row)
    if parts is None:
        return Document(number, str(row), source=row, reason="no text with entities")
    text, annotation = parts
    spans = tuple(Span(*item[:3]) for item in annotation["entities"] if _is_entity(item))
    reason = "" if len(spans) == len(annotation["entities"]) else "an entity is not its start, its end and its label"
    others = row if isinstance(row, dict) else {}
    columns = {key: value for key, value in others.items() if key not in ("text", "entities")}
    return Document(number, text, spans, columns=columns, source=row, reason=reason)


def write(path: Path, documents: Iterator[Document]) -> int:
    """Write pairs of a text and its entities -> their number. Raises what `write_rows` raises."""
    found: Iterator[Any] = ([d.text, {"entities": [[s.start, s.end, s.label] for s in d.spans or ()]}] for d in documents)
    return write_rows(path, found, kind="json")
