"""Answers in the form of an annotation tool, as suggestions that people correct there."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import LABEL
from hftool.data.readers.tables import Record
from hftool.data.writers import output_format, write_rows
from hftool.errors import UsageError
from hftool.registry.formats import AUTO, TABLE, FileFormat, get_format


def suggestion_form(to: str, record: Record, out: str | Path | None) -> FileFormat | None:
    """The form in which answers are written; None for a table.

    Args:
        to: A form; "table"; or "auto", that of the rows if the ending of `out` is one of its files.
        record: The first of the rows.
        out: The output file.

    Raises:
        UsageError: The form does not go with `out`, or `out` is of no format.
    """
    known = get_format(record.document.form) if to == AUTO and record.document else None
    form = known if to in (AUTO, TABLE) else get_format(to)
    if to != TABLE and form is not None and out is not None and Path(out).suffix.lower() in form.outputs:
        return form
    if to not in (AUTO, TABLE):
        outputs = get_format(to).outputs
        of_file = f"--out FILE, ending in {' or '.join(outputs)}" if outputs else "--to table"
        hint = "--out FOLDER, a name without an ending" if outputs == ("",) else of_file
        raise UsageError(f"'{out or 'stdout'}' cannot be written as {get_format(to).title}", hint)
    if out is not None:
        output_format(out)
    return None


def suggestion(record: Record, mapping: Mapping[str, str], answer: Mapping[str, Any] | None) -> Document:
    """A document with an answer in place of what is marked; without an answer nothing is.

    Raises UsageError for an answer that is neither entities nor a label.
    """
    text = mapping.get("text", "")
    document: Document = record.document or Document(
        record.number,
        str(record.row.get(text) or ""),
        columns={name: cell for name, cell in record.row.items() if name != text},
    )
    document = replace(document, spans=None, labels={})
    if answer is None:
        return document
    if "entities" in answer:
        spans = (Span(e["start"], e["end"], e["type"], e["text"], probability=e["probability"]) for e in answer["entities"])
        return replace(document, spans=tuple(spans))
    if "labels" in answer:
        return replace(document, labels={LABEL: tuple(answer["labels"])})
    if "label" not in answer:
        raise UsageError("suggestions are entities or labels, and this model gives neither", "Write a table: --to table")
    return replace(document, labels={LABEL: (answer["label"],)}, probability=answer.get("probability"))


def write_suggestions(form: FileFormat, path: Path, documents: Iterator[Document]) -> int:
    """Write documents in a form -> their number. Raises what `write_rows` raises."""
    module = form.load_module()
    # the object of another tool is not one of this form
    documents = (document if document.form in ("", form.name) else replace(document, source=None) for document in documents)
    if hasattr(module, "write"):
        count: int = module.write(path, documents)
        return count
    return write_rows(path, map(module.suggested, documents), kind=path.suffix.lower().removeprefix("."))
