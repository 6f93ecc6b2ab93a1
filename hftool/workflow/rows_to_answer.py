"""The rows that a model is to answer: of a file or in memory, opened before the model is loaded; and their output."""

import itertools
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.plain_text import check_running_text
from hftool.data.readers.tables import Record, Rejected, Row, Table, is_running_text, stream
from hftool.data.writers import output_format, write_lines, write_rows
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import Answer
from hftool.machine import limit_kernel_caches
from hftool.models import Loaded
from hftool.progress import Progress, notice
from hftool.registry.formats import FORMATS, FileFormat
from hftool.storage.run_folder import check_output
from hftool.workflow._load import load_resolved, resolve_with_head, trained
from hftool.workflow.arguments import Model, Task, task_name
from hftool.workflow.in_memory import PATH, records, rows_table
from hftool.workflow.suggestions import suggestion_form, write_suggestions

SAMPLED = 1000  # rows from which the columns and the kind of text are inferred


@dataclass(frozen=True)
class OpenSource:
    """The first records of some rows, the columns, the remaining records, the rows that cannot be read, the form of output."""

    path: str
    sample: list[Record]
    columns: tuple[str, ...]
    rest: Iterator[Record]
    rejected: list[Rejected]
    form: FileFormat | None = None
    in_memory: bool = False


def check_source(source: Task | None, out: str | Path | None, verb: str) -> Table | str:
    """The rows in memory, or the path of a file.

    Raises UsageError where no file is named, or for an ending that no output has; OutputUnavailable.
    """
    if out is not None:
        if not any(Path(out).suffix.lower() in row.outputs for row in FORMATS):
            output_format(out)
        check_output(Path(out))
    return rows_table(source) or _file(source, verb)


def _file(source: Task | None, verb: str) -> str:
    if source is None:
        raise UsageError("which file?", f"hftool {verb} MODEL FILE --out OUT.csv")
    return task_name(source)


def load_with_rows(
    model: Model | Loaded,
    head: str | None,
    opening: Callable[[], OpenSource],
    *,
    device: str,
    precision: str,
    offline: bool,
    fallback: bool,
    progress: Progress,
) -> tuple[Loaded, OpenSource]:
    """The model and the open rows; the model is found before the rows are opened, and loaded after it."""
    if isinstance(model, Loaded):
        opened = opening()
    else:
        found = resolve_with_head(model, head, offline=offline, fallback=fallback, progress=progress)
        opened = opening()
        limit_kernel_caches()
        model = load_resolved(found, head=head, device=device, precision=precision, progress=progress)
    return trained(model, head), opened


def open_rows(
    found: Table | str, how: ReadOptions, to: str, out: str | Path | None, *, is_text: bool, progress: Progress
) -> OpenSource:
    """The open rows of a file or in memory, and the form of the output."""
    if isinstance(found, Table):
        opened = OpenSource(PATH, records(found), found.columns, iter(()), [], in_memory=True)
    else:
        opened = _open_file(found, how, is_text=is_text, progress=progress)
    return replace(opened, form=suggestion_form(to, opened.sample[0], out))


def _open_file(source: str, reading: ReadOptions, *, is_text: bool, progress: Progress) -> OpenSource:
    """The first records of a file, its columns, and the remaining records.

    is_text: accept lines as text, whatever they look like. Raises what `stream` raises, DataError.
    """
    notes: list[str] = []
    rejected: list[Rejected] = []
    names, records = stream(source, reading, rejected=rejected, notes=notes)
    sample = list(itertools.islice(records, SAMPLED))
    if not sample:
        raise DataError(f"'{source}' has no rows")
    if not is_text and is_running_text(source, reading):
        check_running_text((record.row["text"] for record in sample), source)
    for note in notes:
        notice(progress, note)
    return OpenSource(source, sample, names or tuple(sample[0].row), records, rejected)


def write_answers(rows: Iterator[Any], out: str | Path | None, handle: Any, opened: OpenSource) -> Any:
    """Write the rows to `out` or `handle` and count them; or return them."""
    if out is not None and opened.form is not None:
        return write_suggestions(opened.form, Path(out), rows)
    if out is not None:
        return write_rows(Path(out), rows)
    return list(rows) if opened.in_memory and handle is None else write_lines(handle or sys.stdout, rows)


def answer_cells(answer: Answer) -> tuple[Row, Mapping[str, float]]:
    """The parts of an answer as cells, and its probabilities by label, which are not among them."""
    cells = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}
    return cells, cells.pop("probabilities", None) or {}


def with_cells(row: Row, cells: Mapping[str, Any], present: Container[str]) -> Row:
    """The row's own columns, then new ones; one whose name is taken is called predicted_NAME."""
    return row | {f"predicted_{key}" if key in present else key: value for key, value in cells.items()}
