"""predict: answer every row of a file, in order and in bounded memory."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hftool.data.readers.formats import read_options
from hftool.data.readers.tables import Record, Rejected, Row
from hftool.data.rows import MAX_REJECTED, map_row
from hftool.data.splits import mapping_sentence
from hftool.data.writers import ARRAY
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import Answer
from hftool.inference.predictor import Predictor
from hftool.models import Loaded
from hftool.progress import Event, Progress, notice, silent
from hftool.registry.formats import AUTO
from hftool.registry.heads import head_spec
from hftool.workflow._infer import natural_options
from hftool.workflow._load import make_predictor
from hftool.workflow.arguments import Model, Task
from hftool.workflow.choose_head import columns_to_answer
from hftool.workflow.rows_to_answer import (
    OpenSource,
    answer_cells,
    check_source,
    load_with_rows,
    open_rows,
    with_cells,
    write_answers,
)
from hftool.workflow.suggestions import suggestion

ROWS_AT_A_TIME = 4096


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
    found, how = check_source(source, out, "predict"), read_options(encoding, reading).for_columns(column or {})
    opening = partial(open_rows, found, how, to, out, is_text=head is not None, progress=progress)
    load = partial(load_with_rows, device=device, precision=precision, offline=offline, fallback=fallback, progress=progress)
    loaded, opened = load(model, head, opening)
    rows = _answers(_fitting(loaded, out), opened, column or {}, options or {}, top_k, head is not None, progress)
    return write_answers(rows, out, handle, opened)


def _answers(
    loaded: Loaded,
    opened: OpenSource,
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


def _fitting(loaded: Loaded, out: str | Path | None) -> Loaded:
    """The model, if the format of the output can hold its answers. Raises UsageError."""
    if out is not None and Path(out).suffix.lower() == ARRAY and not head_spec(loaded.head_config.head).embeds:
        raise UsageError("an array holds vectors, and these answers are none", "Write .jsonl, .csv, .tsv or .parquet")
    return loaded


def _one_by_one(predictor: Predictor, rows: Sequence[Row], refused: dict[int, str]) -> list[Answer]:
    """The answers of the rows that can be answered; the reasons of the others go into `refused`, by position."""
    answers: list[Answer] = []
    for position, row in enumerate(rows):
        try:
            answers += predictor.answer([row])
        except DataError as error:
            refused[position] = error.detail
    return answers


@dataclass
class _Tally:
    """How many rows there are of a kind, and the first: a list would grow with the file."""

    count: int = 0
    first: Rejected | None = None

    def add(self, rows: Sequence[Rejected]) -> None:
        """Count more rows."""
        self.count += len(rows)
        self.first = self.first or next(iter(rows), None)


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
    truncated: Counter[str] = field(default_factory=Counter)  # "rows" that were
    suggests: bool = False  # whether rows become documents with suggestions

    def rows(self, records: Iterator[Record], rejected: list[Rejected]) -> Iterator[Any]:
        """Raises DataError at the end when over 1 % could not be read: then no output file appears."""
        predictor = make_predictor(self.loaded, options=self.options, packed=True)
        blank, unread = _Tally(), _Tally()
        nothing: Row = {}
        done = 0
        while chunk := list(itertools.islice(records, ROWS_AT_A_TIME)):
            answers, refused = self._answers(predictor, chunk, is_first=not done)
            blank.add(refused)
            unread.add(rejected)
            rejected.clear()
            found = next((cells for cells in answers if cells is not None), None)
            if found is None and not done:
                raise DataError(f"none of the first {len(chunk)} rows of {self.source} can be answered: {refused[0].reason}")
            nothing = nothing or dict.fromkeys(found or ())
            for record, cells in zip(chunk, answers, strict=True):
                if self.suggests:
                    yield suggestion(record, self.mapping, cells)
                else:
                    yield with_cells(record.row, nothing if cells is None else cells, self.present)
            done += len(chunk)
            self.progress(Event("rows", values={"done": done}))
        unread.add(rejected)
        self._end(done, blank, unread)

    def _end(self, done: int, blank: _Tally, unread: _Tally) -> None:
        """Add the notices. Raises DataError when over 1 % of the rows could not be read."""
        if longer := self.truncated["rows"]:
            notice(
                self.progress,
                f"{longer} of {done} rows are longer than {self.loaded.head_config.max_length} tokens and were truncated",
            )
        if blank.first:
            which = f"{blank.count} of {done} rows of {self.source} cannot be answered: their new columns are empty"
            notice(self.progress, f"{which}; the first is line {blank.first.row}: {blank.first.reason}")
        if unread.first:
            first, total = unread.first, done + unread.count
            message = f"{unread.count} of {total} rows of {self.source} cannot be read; the first is line {first.row}: "
            if unread.count > MAX_REJECTED * total:
                raise DataError(message + first.reason, "At most 1 % may be unusable: repair the file")
            notice(self.progress, f"{message}{first.reason}; they are left out")

    def _answers(
        self, predictor: Predictor, chunk: Sequence[Record], *, is_first: bool
    ) -> tuple[list[Row | None], list[Rejected]]:
        """The new cells of each row, None for a row without a text or that the head refuses; and those rows."""
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
        blank: list[Rejected] = []
        position = 0
        for record, (_, reason) in zip(chunk, mapped, strict=True):
            fault = reason or refused.get(position, "")
            position += not reason
            if fault:
                blank.append(Rejected(record.number, fault, ""))
            cells.append(None if fault else self._cells(next(answers)))
        return cells, blank

    def _cells(self, answer: Answer) -> Row:
        """The parts of an answer as columns; several labels joined, probabilities one column each, or the top_k best."""
        cells, chances = answer_cells(answer)
        self.truncated["rows"] += bool(cells.pop("cut", 0))
        if not chances or self.suggests:
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
