"""predict: answer every row of a file, in order and in bounded memory."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hftool.data.readers.formats import ReadOptions, read_options
from hftool.data.readers.plain_text import check_running_text
from hftool.data.readers.tables import Record, Rejected, Row, Table, is_running_text, stream
from hftool.data.rows import MAX_REJECTED, map_row
from hftool.data.splits import mapping_sentence
from hftool.data.writers import ARRAY, output_format, write_lines, write_rows
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import Answer
from hftool.inference.predictor import Predictor
from hftool.machine import limit_kernel_caches
from hftool.models import Loaded
from hftool.progress import Event, Progress, notice, silent
from hftool.registry.formats import AUTO, FORMATS, FileFormat
from hftool.registry.heads import head_spec
from hftool.storage.run_folder import check_output
from hftool.workflow._infer import natural_options
from hftool.workflow._load import load_resolved, make_predictor, resolve_with_head, trained
from hftool.workflow.arguments import Model, Task, task_name
from hftool.workflow.choose_head import columns_to_answer
from hftool.workflow.in_memory import PATH, records, rows_table
from hftool.workflow.suggestions import suggestion, suggestion_form, write_suggestions

ROWS_AT_A_TIME = 4096
SAMPLED = 1000  # rows from which the columns and the kind of text are inferred


def predict(
    model: Model | Loaded,
    source: Task | None,
    *,
    out: str | Path | None = None,
    to: str = AUTO,
    column: Mapping[str, str] | None = None,
    head: str | None = None,
    options: Mapping[str, Any] | None = None,
    top_k: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    encoding: str | None = None,
    reading: Mapping[str, Any] | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
    handle: Any = None,
) -> Any:
    """Answer every row of a file or of rows in memory, in order. Raises what `load` raises, DataError and OutputUnavailable.

    Args:
        model: A loaded model, or what `load` takes.
        source: A file; or a list of dicts, a pandas DataFrame, a datasets.Dataset.
        out: A .csv, .tsv, .jsonl or .parquet file, .npy for embeddings; it appears whole or not at all.
        to: Form of `out`: of an annotation tool, "table", or "auto": that of the rows if the ending allows it, else a table.
        column: Role -> column, such as {"text": "review"}.
        head: By default what the model was trained for.
        options: Fields of the head.
        top_k: Only the K most probable labels.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: Number format of the arithmetic: auto, fp32 or bf16.
        encoding: Encoding of a text file; by default UTF-8.
        reading: Other fields of `hftool.data.readers.formats.ReadOptions`, such as {"format": "csv"}.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.
        handle: Receives JSON Lines where there is no `out`; by default stdout.

    Returns:
        The number of rows; for rows in memory without `out` and `handle`, the rows of the output, empty without an answer.
    """
    found, how = _checked(source, out), read_options(encoding, reading).for_columns(column or {})
    open_rows = partial(_open, found, how, to, out, is_text=head is not None, progress=progress)
    load = partial(_loaded, device=device, precision=precision, offline=offline, fallback=fallback, progress=progress)
    loaded, opened = load(model, head, open_rows)
    rows = _answers(_fitting(loaded, out), opened, column or {}, options or {}, top_k, head is not None, progress)
    return _written(rows, out, handle, opened)


def _loaded(
    model: Model | Loaded,
    head: str | None,
    open_rows: Callable[[], "_OpenSource"],
    *,
    device: str,
    precision: str,
    offline: bool,
    fallback: bool,
    progress: Progress,
) -> tuple[Loaded, "_OpenSource"]:
    """The model and the open rows; the model is found before the rows are opened, and loaded after it."""
    if isinstance(model, Loaded):
        opened = open_rows()
    else:
        found = resolve_with_head(model, head, offline=offline, fallback=fallback, progress=progress)
        opened = open_rows()
        limit_kernel_caches()
        model = load_resolved(found, head=head, device=device, precision=precision, progress=progress)
    return trained(model, head), opened


def _open(
    found: Table | str, how: ReadOptions, to: str, out: str | Path | None, *, is_text: bool, progress: Progress
) -> "_OpenSource":
    """The open rows of a file or in memory, and the form of the output."""
    if isinstance(found, Table):
        opened = _OpenSource(PATH, records(found), found.columns, iter(()), [], in_memory=True)
    else:
        opened = _open_file(found, how, is_text=is_text, progress=progress)
    return replace(opened, form=suggestion_form(to, opened.sample[0], out))


def _written(rows: Iterator[Any], out: str | Path | None, handle: Any, opened: "_OpenSource") -> Any:
    """Write the rows to `out` or `handle` and count them; or return them."""
    if out is not None and opened.form is not None:
        return write_suggestions(opened.form, Path(out), rows)
    if out is not None:
        return write_rows(Path(out), rows)
    return list(rows) if opened.in_memory and handle is None else write_lines(handle or sys.stdout, rows)


@dataclass(frozen=True)
class _OpenSource:
    """The first records of some rows, the columns, the remaining records, the rows that cannot be read, the form of output."""

    path: str
    sample: list[Record]
    columns: tuple[str, ...]
    rest: Iterator[Record]
    rejected: list[Rejected]
    form: FileFormat | None = None
    in_memory: bool = False


def _answers(
    loaded: Loaded,
    opened: _OpenSource,
    given: Mapping[str, str],
    options: Mapping[str, Any],
    top_k: int | None,
    chosen: bool,
    progress: Progress,
) -> Iterator[Any]:
    """The rows of the output, as documents for the form of an annotation tool; a notice names the columns."""
    mapping = columns_to_answer(opened.columns, opened.sample, loaded, given, opened.path, chosen=chosen)
    notice(progress, mapping_sentence(mapping))
    answered = _Answered(loaded, mapping, opened.columns, {**natural_options(loaded), **options}, top_k, opened.path, progress)
    answered = replace(answered, suggests=opened.form is not None)
    return answered.rows(itertools.chain(opened.sample, opened.rest), opened.rejected)


def _checked(source: Task | None, out: str | Path | None) -> Table | str:
    """The rows in memory, or the path of a file.

    Raises UsageError where no file is named, or for an ending that no output has; OutputUnavailable.
    """
    if out is not None:
        if not any(Path(out).suffix.lower() in row.outputs for row in FORMATS):
            output_format(out)
        check_output(Path(out))
    return rows_table(source) or _file(source)


def _file(source: Task | None) -> str:
    if source is None:
        raise UsageError("which file?", "hftool predict MODEL FILE --out OUT.csv")
    return task_name(source)


def _fitting(loaded: Loaded, out: str | Path | None) -> Loaded:
    """The model, if the format of the output can hold its answers. Raises UsageError."""
    if out is not None and Path(out).suffix.lower() == ARRAY and not head_spec(loaded.head_config.head).embeds:
        raise UsageError("an array holds vectors, and these answers are none", "Write .jsonl, .csv, .tsv or .parquet")
    return loaded


def _open_file(source: str, reading: ReadOptions, *, is_text: bool, progress: Progress) -> _OpenSource:
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
    return _OpenSource(source, sample, names or tuple(sample[0].row), records, rejected)


def _one_by_one(predictor: Predictor, rows: Sequence[Row], refused: dict[int, str]) -> list[Answer]:
    """The answers of the rows that can be answered; the reasons of the others go into `refused`, by position."""
    answers: list[Answer] = []
    for position, row in enumerate(rows):
        try:
            answers += predictor.answer([row])
        except DataError as error:
            refused[position] = error.detail
    return answers


@dataclass(frozen=True)
class _Answered:
    """Rows with their answers, chunk by chunk."""

    loaded: Loaded
    mapping: Mapping[str, str]
    present: Sequence[str]
    options: Mapping[str, Any]
    top_k: int | None
    source: str
    progress: Progress
    truncated: list[int] = field(default_factory=list)
    suggests: bool = False  # whether rows become documents with suggestions

    def rows(self, records: Iterator[Record], rejected: list[Rejected]) -> Iterator[Any]:
        """Raises DataError at the end when over 1 % could not be read: then no output file appears."""
        predictor = make_predictor(self.loaded, options=self.options, packed=True)
        blank: list[Rejected] = []
        nothing: Row = {}
        done = 0
        while chunk := list(itertools.islice(records, ROWS_AT_A_TIME)):
            answers = self._answers(predictor, chunk, blank, is_first=not done)
            found = next((cells for cells in answers if cells is not None), None)
            if found is None and not done:
                raise DataError(f"none of the first {len(chunk)} rows of {self.source} can be answered: {blank[0].reason}")
            nothing = nothing or dict.fromkeys(found or ())
            for record, cells in zip(chunk, answers, strict=True):
                if self.suggests:
                    yield suggestion(record, self.mapping, cells)
                else:
                    yield self._line(record.row, nothing if cells is None else cells)
            done += len(chunk)
            self.progress(Event("rows", values={"done": done}))
        if longer := len(self.truncated):
            notice(
                self.progress,
                f"{longer} of {done} rows are longer than {self.loaded.head_config.max_length} tokens and were truncated",
            )
        if blank:
            which = f"{len(blank)} of {done} rows of {self.source} cannot be answered: their new columns are empty"
            notice(self.progress, f"{which}; the first is line {blank[0].row}: {blank[0].reason}")
        if rejected:
            first, total = rejected[0], done + len(rejected)
            message = f"{len(rejected)} of {total} rows of {self.source} cannot be read; the first is line {first.row}: "
            if len(rejected) > MAX_REJECTED * total:
                raise DataError(message + first.reason, "At most 1 % may be unusable: repair the file")
            notice(self.progress, f"{message}{first.reason}; they are left out")

    def _answers(
        self, predictor: Predictor, chunk: Sequence[Record], blank: list[Rejected], *, is_first: bool
    ) -> list[Row | None]:
        """The new cells of each row; None, and an entry in `blank`, for a row without a text or that the head refuses."""
        keep_bom = head_spec(self.loaded.head_config.head).offset_roles
        mapped = [map_row(record.row, self.mapping, keep_bom=keep_bom) for record in chunk]
        usable = [row for row, reason in mapped if not reason]
        refused: dict[int, str] = {}
        try:
            answers: Iterator[Answer] = iter(list(predictor.answer(usable)))
        except DataError as error:  # of one row, or of all where the model is damaged
            answers = iter(_one_by_one(predictor, usable, refused))
            if len(refused) == len(usable) and is_first:
                raise error from None
        cells: list[Row | None] = []
        position = 0
        for record, (_, reason) in zip(chunk, mapped, strict=True):
            fault = reason or refused.get(position, "")
            position += not reason
            if fault:
                blank.append(Rejected(record.number, fault, ""))
            cells.append(None if fault else self._cells(next(answers)))
        return cells

    def _cells(self, answer: Answer) -> Row:
        """The parts of an answer as columns; several labels joined, probabilities one column each, or the top_k best."""
        cells = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}
        if truncated := cells.pop("cut", 0):
            self.truncated.append(truncated)
        chances = cells.pop("probabilities", None)
        if chances is None or self.suggests:
            return cells
        several = "labels" in cells
        if several:
            cells["labels"] = self.loaded.head_config.labels_sep.join(cells["labels"])
        if self.top_k is None:
            return cells | {f"probability_{name}": chance for name, chance in chances.items()}
        ranked = sorted(chances, key=lambda name: -chances[name])[: self.top_k]
        first = 1 if several else 2  # a single label is the first itself
        for rank, name in enumerate(ranked[first - 1 :], start=first):
            cells |= {f"label_{rank}": name, f"probability_{rank}": chances[name]}
        return cells

    def _line(self, row: Row, cells: Mapping[str, Any]) -> Row:
        """The row's own columns, then the new ones; one whose name is taken is called predicted_NAME."""
        return row | {f"predicted_{key}" if key in self.present else key: value for key, value in cells.items()}
