"""Label Studio's JSON: tasks with annotations of spans and choices. Offsets are code points."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.json_values import as_dict, as_list, offsets_of
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.annotations.text_keys import USUAL, find_text_key
from hftool.data.readers.forms import SAMPLE_ROWS, peek
from hftool.data.readers.tables import Record, Row, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.data.writers import write_rows
from hftool.errors import DataError

SPANS = ("labels", "hypertextlabels")  # types of results
KEPT = ("id", "annotations", "meta")  # of a task with suggestions
MODEL = "hftool"
# the names of controls in the templates of Label Studio, for tasks of which none was annotated
CONTROLS = {"labels": ("label", "text"), "choices": ("sentiment", "text")}


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows are tasks: an object `data` and annotations, or the completions of versions before 1.0."""
    return all(
        isinstance(row, dict)
        and isinstance(row.get("data"), dict)
        and any(isinstance(row.get(key), list) for key in ("annotations", "completions", "predictions"))
        for row in sample
    )


def read(rows: Iterator[Numbered], source: Source) -> Iterator[Record]:
    """The records of an export. Raises what `annotated_records` raises; DataError for a version before 1.0."""
    sample, rows = peek(rows, SAMPLE_ROWS)
    tasks = [row for _, row in sample if isinstance(row, dict) and isinstance(row.get("data"), dict)]
    if any("completions" in task for task in tasks):
        what = f"'{source.path}' is Label Studio's JSON of a version before 1.0, with completions"
        raise DataError(what, "Known is the JSON of 1.0 and later, with annotations: export it again")
    results = [(task["data"], _results(annotation)) for task in tasks for annotation in _annotations(task)]
    controls = {name for _, found in results for item in found if (name := _control(item))}
    texts = [(data, [span for item in found for span in _spans(item)]) for data, found in results]
    project = _Project(
        find_text_key(texts or [(task["data"], ()) for task in tasks]),
        len(controls) == 1,
        any(item["type"] in SPANS for _, found in results for item in found),
    )
    return annotated_records((document for number, row in rows for document in project.documents(number, row)), source)


def _annotations(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a task that were not skipped."""
    items = as_list(task.get("annotations"))
    return [item for item in items if isinstance(item, dict) and not item.get("was_cancelled")]


def _results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results with a value and texts for what names them."""
    found = [item for item in as_list(annotation.get("result")) if isinstance(item, dict)]
    named = [item for item in found if all(isinstance(item.get(key), str) for key in ("type", "from_name", "to_name"))]
    return [item for item in named if isinstance(item.get("value"), dict)]


def _spans(item: Mapping[str, Any]) -> list[Span]:
    """The spans of a result, one for each of its labels."""
    value = item["value"]
    if item["type"] not in SPANS:
        return []
    start, end = offsets_of(value.get("globalOffsets") or value)
    text = value["text"] if isinstance(value.get("text"), str) else ""
    return [Span(start, end, str(label), text) for label in as_list(value.get(item["type"]))]


def _control(item: Mapping[str, Any]) -> str:
    """The name of the control of a choice, a rating or a number on the whole text; "" for any other result."""
    kind, value = item["type"], item["value"]
    return str(item["from_name"]) if kind in ("choices", "rating", "number") and "start" not in value else ""


def _answers(item: Mapping[str, Any]) -> tuple[str, ...]:
    value = item["value"].get(item["type"], [])
    return tuple(map(str, value if isinstance(value, list) else [value]))


@dataclass(frozen=True)
class _Project:
    """What the first tasks say about all.

    Attributes:
        key: The key of the text in `data`.
        single: Whether there is one question on whole texts, whose answer is the label.
        with_spans: Whether spans are marked.
    """

    key: str
    single: bool
    with_spans: bool

    def documents(self, number: int, task: Any) -> Iterator[Document]:
        """A document for each annotation of a task, one without spans and labels if there is none."""
        data = as_dict(as_dict(task).get("data"))
        text = data.get(self.key)
        if not isinstance(text, str):
            yield Document(number, str(task), source=task, reason=f"no text under data.{self.key or USUAL}")
            return
        columns = {"id": task.get("id"), **{key: value for key, value in data.items() if key != self.key}}
        common = {"columns": columns, "key": str(number), "source": task}
        for annotation in _annotations(task):
            spans, labels = self._marked(_results(annotation))
            yield Document(number, text, spans, labels, _annotator(annotation), **common)
        if not _annotations(task):
            yield Document(number, text, **common)

    def _marked(self, results: Sequence[Mapping[str, Any]]) -> tuple[tuple[Span, ...] | None, dict[str, tuple[str, ...]]]:
        spans = tuple(span for item in results for span in _spans(item))
        labels = {LABEL if self.single else _control(item): _answers(item) for item in results if _control(item)}
        return spans if spans or self.with_spans else None, labels


def _annotator(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    who = who.get("email") or who.get("id") if isinstance(who, dict) else who
    return "" if who is None else str(who)


def write(path: Path, documents: Iterator[Document]) -> int:
    """Write tasks with suggestions as predictions -> their number. Raises what `write_rows` raises."""
    controls = dict(CONTROLS)
    return write_rows(path, (_task(document, controls) for document in documents), kind="json")


def _task(document: Document, controls: dict[str, tuple[str, str]]) -> Row:
    """A task with predictions, of the controls that its own annotations name, or earlier ones."""
    task = document.source if isinstance(document.source, dict) else {"data": {USUAL: document.text, **document.columns}}
    for annotation in _annotations(task):
        for item in _results(annotation):
            if item["type"] in controls:
                controls[item["type"]] = (item["from_name"], item["to_name"])
    values = [
        ("labels", {"start": s.start, "end": s.end, "text": s.text, "labels": [s.label]}, s.probability)
        for s in document.spans or ()
    ]
    values += [("choices", {"choices": list(labels)}, document.probability) for labels in document.labels.values()]
    result = []
    for number, (kind, value, score) in enumerate(values):
        from_name, to_name = controls[kind]
        item = {"id": f"s{number}", "from_name": from_name, "to_name": to_name, "type": kind, "value": value}
        result.append(item if score is None else item | {"score": score})
    scores = [score for _, _, score in values if score is not None]
    prediction = {"model_version": MODEL, "result": result, **({"score": min(scores)} if scores else {})}
    kept = {key: task[key] for key in KEPT if key in task}
    return {**kept, "data": task["data"], "predictions": [prediction]}
