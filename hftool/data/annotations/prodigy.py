"""Prodigy's JSON Lines: texts with spans, a label or the accepted options. Offsets are code points, token_end is inclusive."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.json_values import as_dict, as_list, offsets_of
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.readers.forms import SAMPLE_ROWS, peek
from hftool.data.readers.tables import Record, Row, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.errors import DataError

ANSWERS = ("accept", "reject", "ignore")
# keys that say how a task was shown and answered, and that are no columns
OURS = (
    "text",
    "tokens",
    "spans",
    "relations",
    "options",
    "accept",
    "answer",
    "label",
    "config",
    "html",
    "style",
    "priority",
    "score",
)


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows have a text, and any has an answer of Prodigy or spans under its keys."""
    return all(isinstance(row, dict) and isinstance(row.get("text"), str) for row in sample) and any(map(_is_task, sample))


def _is_task(row: Mapping[str, Any]) -> bool:
    spans = row.get("spans")
    if isinstance(spans, list) and any(isinstance(span, dict) and {"start", "end", "label"} <= span.keys() for span in spans):
        return True
    return row.get("answer") in ANSWERS and ("_input_hash" in row or "_task_hash" in row)


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of an export. Raises what `annotated_records` raises, and DataError for answers about single spans."""
    sample, rows = peek(rows, SAMPLE_ROWS)
    found = [row for _, row in sample if isinstance(row, dict)]
    if source.targets and any(row.get("_is_binary") and row.get("spans") for row in found):
        what = f"'{source.path}' has binary answers of Prodigy about single spans, which do not say what the other words are"
        raise DataError(what, "Complete them with ner.silver-to-gold, and export that")
    with_spans = any("spans" in row for row in found)
    documents = (_document(number, row, with_spans) for number, row in rows)
    return annotated_records(documents if not source.targets else _accepted(documents, source), source)


def _accepted(documents: Iterator[Document], source: Source) -> Iterator[Document]:
    """The documents without those that were rejected or ignored, which a notice counts."""
    others = 0
    for document in documents:
        answer = document.source.get("answer", ANSWERS[0]) if isinstance(document.source, dict) else ANSWERS[0]
        others += answer != ANSWERS[0]
        if answer == ANSWERS[0]:
            yield document
    if others:
        source.notes.append(f"'{source.path}': {others} rejected and ignored answers are left out")


def _document(number: int, row: Any, with_spans: bool) -> Document:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return Document(number, str(row), source=row, reason="no text")
    text, accepted, label = row["text"], row.get("accept"), row.get("label")
    spans = [_span(span, row) for span in as_list(row.get("spans"))]
    labels = {LABEL: tuple(map(str, accepted))} if isinstance(accepted, list) and accepted else {}
    labels |= {LABEL: (label,)} if isinstance(label, str) and label else {}
    return Document(
        number,
        text,
        tuple(span for span in spans if span) if with_spans else None,
        labels,
        annotator=str(row.get("_annotator_id") or row.get("_session_id") or ""),
        key=str(row.get("_input_hash") or text),
        columns={key: value for key, value in row.items() if key not in OURS and not key.startswith("_")},
        source=row,
        reason="" if all(spans) else "a span without start, end and label",
    )


def _span(span: Any, row: Mapping[str, Any]) -> Span | None:
    """A span by its characters, else by its tokens; None if it has neither, or no label."""
    if not isinstance(span, dict) or not isinstance(span.get("label"), str):
        return None
    start, end = offsets_of(span)
    if start < 0:
        tokens = {str(token.get("id")): token for token in as_list(row.get("tokens")) if isinstance(token, dict)}
        first, last = tokens.get(str(span.get("token_start"))), tokens.get(str(span.get("token_end")))
        start, end = offsets_of({"start": as_dict(first).get("start"), "end": as_dict(last).get("end")})
        if start < 0:
            return None
    return Span(start, end, span["label"], span["text"] if isinstance(span.get("text"), str) else "")


def suggested(document: Document) -> Row:
    """A task with suggestions and without an answer, so that Prodigy asks for one."""
    row = {key: value for key, value in (document.source or {}).items() if not key.startswith("_") or key == "_input_hash"}
    row = row or {"text": document.text, "meta": dict(document.columns)}
    for key in ("answer", "relations"):
        row.pop(key, None)
    label = next((labels[0] for labels in document.labels.values() if labels), None)
    if label is not None:
        return row | ({"accept": [label]} if "options" in row else {"label": label})
    spans = [{"start": span.start, "end": span.end, "label": span.label} for span in document.spans or ()]
    return _with_tokens(row | {"spans": spans}, spans)


def _with_tokens(row: Row, spans: Sequence[Row]) -> Row:
    """The row with the first and the last token of each span; without its tokens if a span does not fit them."""
    tokens = [token for token in as_list(row.get("tokens")) if isinstance(token, dict)]
    starts = {token.get("start"): token.get("id") for token in tokens}
    ends = {token.get("end"): token.get("id") for token in tokens}
    if all(span["start"] in starts and span["end"] in ends for span in spans):
        fitted = [{**span, "token_start": starts[span["start"]], "token_end": ends[span["end"]]} for span in spans]
        return row | {"spans": fitted}
    return {key: value for key, value in row.items() if key != "tokens"}
