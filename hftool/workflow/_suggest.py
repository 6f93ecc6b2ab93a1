"""suggest: the rows of an unlabelled pool that are worth labelling next."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hftool.data.quality import INPUT_ROLES
from hftool.data.readers.formats import ReadOptions, read_options
from hftool.data.readers.tables import Record, Row
from hftool.data.rows import map_row
from hftool.data.splits import mapping_sentence
from hftool.engines.last_layer import last_layer_inputs, row_vectors
from hftool.engines.onnx import OnnxModel
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import Answer, Feature
from hftool.inference.diverse_rows import Candidate, Candidates, uncertainty_of
from hftool.inference.predictor import Predictor
from hftool.models import Loaded
from hftool.progress import Event, Progress, notice, silent
from hftool.registry.formats import AUTO
from hftool.registry.heads import head_spec
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

ROWS_AT_A_TIME = 2048
COUNT = 200


@dataclass(frozen=True)
class Suggested:
    """The rows that are worth labelling next.

    Attributes:
        rows: The rows with the answer of the model and its `uncertainty`, in the order in which they were chosen.
        pool: How many different rows there were to choose from.
        copies: How many rows of the pool repeat an earlier one, or one of the excluded file.
        annotated: How many rows of the pool are annotated already.
        unusable: How many cannot be read or have no text.
        uncertainty: The mean uncertainty of the rows, from 0 to 0.5.
        pool_uncertainty: That of the pool.
    """

    rows: list[Row]
    pool: int
    copies: int
    annotated: int
    unusable: int
    uncertainty: float
    pool_uncertainty: float


def suggest(
    model: Model | Loaded,
    source: Task | None,
    *,
    count: int = COUNT,
    out: str | Path | None = None,
    to: str = AUTO,
    exclude: Task | None = None,
    column: Mapping[str, str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    encoding: str | None = None,
    reading: Mapping[str, Any] | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Suggested:
    """Choose the rows of a pool to label next: those of which the model is least sure, different from each other.

    Args:
        model: A model that classifies, tags or answers: loaded, or what `load` takes.
        source: The pool: a file of any size; or a list of dicts, a pandas DataFrame, a datasets.Dataset.
        count: How many rows.
        out: A file, as of `predict`, with the rows and the answers of the model; it appears whole or not at all.
        to: Form of `out`, as of `predict`.
        exclude: Rows that are not chosen again, such as the file of those that are labelled.
        column: Role -> column, such as {"text": "review"}.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: Number format of the arithmetic: auto, fp32 or bf16.
        encoding: Encoding of a text file; by default UTF-8.
        reading: Other fields of `hftool.data.readers.formats.ReadOptions`, such as {"format": "csv"}.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.

    Raises:
        UsageError: The model chooses between no labels or spans, or is an export; `count` is below 1.
        HftoolError: What `load` and `predict` raise; no row of the pool can be used.
    """
    if count < 1:
        raise UsageError(f"count must be at least 1, not {count}")
    found, how = check_source(source, out, "suggest"), read_options(encoding, reading).for_columns(column or {})
    opening = partial(open_rows, found, how, to, out, is_text=True, progress=progress)
    load = partial(load_with_rows, device=device, precision=precision, offline=offline, fallback=fallback, progress=progress)
    loaded, opened = load(model, None, opening)
    _check(loaded)
    pool = _Pool(loaded, column or {}, progress)
    pool.exclude(exclude, how)
    return pool.suggested(pool.collected(opened, count), opened, out)


def _check(loaded: Loaded) -> None:
    """Raise UsageError for a model whose answers have no second choice, or that has no vectors."""
    head = loaded.head_config.head
    if not head_spec(head).new_layer or loaded.head_config.problem_type == "regression":
        what = "numbers" if head_spec(head).new_layer else head
        raise UsageError(f"suggest needs a model that classifies, tags or answers, and this one is for {what}")
    if isinstance(loaded.model, OnnxModel):
        raise UsageError("suggest needs the vectors of a model, which the graphs of an export do not give", "Name its run")


@dataclass(frozen=True)
class _Scored:
    """A row of the pool with the cells of its answer."""

    record: Record
    cells: Row
    uncertainty: float

    def line(self, opened: OpenSource, mapping: Mapping[str, str]) -> Any:
        """A document for the form of the output, else a row."""
        return self.row(opened) if opened.form is None else suggestion(self.record, mapping, self.cells)

    def row(self, opened: OpenSource) -> Row:
        """The row with its answer and its uncertainty."""
        return with_cells(self.record.row, {**self.cells, "uncertainty": self.uncertainty}, opened.columns)


@dataclass
class _Pool:
    """The state of reading a pool: what was seen and counted."""

    loaded: Loaded
    given: Mapping[str, str]
    progress: Progress
    mapping: dict[str, str] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)  # digests of texts
    copies: int = 0
    annotated: int = 0
    unusable: int = 0

    def _columns(self, opened: OpenSource) -> dict[str, str]:
        return columns_to_answer(opened.columns, opened.sample, self.loaded, self.given, opened.path, chosen=True)

    def exclude(self, source: Task | None, how: ReadOptions) -> None:
        """Count the rows of another file, if there is one, as seen."""
        if source is None:
            return
        opened = open_rows(check_source(source, None, "suggest"), how, AUTO, None, is_text=True, progress=self.progress)
        mapping = self._columns(opened)
        self.seen.update(_digest(map_row(record.row, mapping)[0]) for record in itertools.chain(opened.sample, opened.rest))

    def collected(self, opened: OpenSource, count: int) -> Candidates:
        """The most uncertain rows of the pool, `count` of which are wanted. Raises DataError if there is none."""
        found = Candidates(count)
        for some in self.candidates(opened):
            found.add(some)
        if not found.rows:
            what = f"none of the rows of {opened.path} can be suggested"
            raise DataError(what, "All are copies, annotated, excluded or without a text")
        return found

    def candidates(self, opened: OpenSource) -> Iterator[list[Candidate]]:
        """The different rows of the pool that can be used, scored, some at a time."""
        self.mapping = self._columns(opened)
        notice(self.progress, mapping_sentence(self.mapping))
        predictor = make_predictor(self.loaded, packed=True)
        records = itertools.chain(opened.sample, opened.rest)
        done = 0
        while chunk := list(itertools.islice(records, ROWS_AT_A_TIME)):
            usable = [pair for record in chunk if (pair := self._usable(record)) is not None]
            yield self._scored(predictor, usable)
            done += len(chunk)
            self.progress(Event("rows", values={"done": done}))
        self.unusable += len(opened.rejected)

    def _usable(self, record: Record) -> tuple[Record, Row] | None:
        """A record and its row by role; None if it is annotated, repeats another or has no text."""
        document = record.document
        if document is not None and (document.spans or document.labels):
            self.annotated += 1
            return None
        row, reason = map_row(record.row, self.mapping, keep_bom=head_spec(self.loaded.head_config.head).offset_roles)
        if reason:
            self.unusable += 1
            return None
        digest = _digest(row)
        if digest in self.seen:
            self.copies += 1
            return None
        self.seen.add(digest)
        return record, row

    def _scored(self, predictor: Predictor, usable: Sequence[tuple[Record, Row]]) -> list[Candidate]:
        if not usable:
            return []
        try:
            features = predictor.head.encode([row for _, row in usable])
        except DataError:  # of one row, such as a question that is too long
            fitting = [pair for pair in usable if _fits(predictor, pair[1])]
            self.unusable += len(usable) - len(fitting)
            if len(fitting) == len(usable):
                raise
            return self._scored(predictor, fitting)
        parts, vectors = _computed(predictor, self.loaded.model, features)
        of_rows: list[list[int]] = [[] for _ in usable]
        for i, feature in enumerate(features):
            of_rows[feature.row].append(i)
        answers = predictor.join_rows(
            [[features[i] for i in row] for row in of_rows], [[parts[i] for i in row] for row in of_rows]
        )
        found = []
        for (record, _), indices, answer in zip(usable, of_rows, answers, strict=True):
            margin = predictor.head.margin([parts[i] for i in indices], answer)
            uncertainty = uncertainty_of(margin)
            vector = np.asarray(np.mean([vectors[i] for i in indices], axis=0, dtype=np.float32))
            found.append(Candidate(_Scored(record, _cells(answer), uncertainty), uncertainty, vector))
        return found

    def suggested(self, candidates: Candidates, opened: OpenSource, out: str | Path | None) -> Suggested:
        """What is chosen, with its figures; the rows are written to `out`."""
        chosen = candidates.choose()
        if out is not None:
            write_answers((candidate.row.line(opened, self.mapping) for candidate in chosen), out, None, opened)
        mean = sum(candidate.uncertainty for candidate in chosen) / len(chosen)
        rows = [candidate.row.row(opened) for candidate in chosen]
        return Suggested(
            rows, candidates.rows, self.copies, self.annotated, self.unusable, mean, candidates.total / candidates.rows
        )


def _fits(predictor: Predictor, row: Row) -> bool:
    """Whether the head can encode a row."""
    try:
        predictor.head.encode([row])
    except DataError:
        return False
    return True


def _computed(predictor: Predictor, model: Any, features: Sequence[Feature]) -> tuple[list[Any], list[np.ndarray]]:
    """The part of an answer that each feature gives, and its vector (H,)."""
    parts: list[Any] = [None] * len(features)
    vectors: list[Any] = [None] * len(features)
    with last_layer_inputs(model) as states:
        for batch in predictor.make_batches(features):
            states.clear()
            batch.put(parts, predictor.compute(batch))
            batch.put(vectors, list(row_vectors(states[-1], batch.inputs["attention_mask"]).numpy()))
    return parts, vectors


def _cells(answer: Answer) -> Row:
    """The cells of an answer, without all but the best probability."""
    cells, _ = answer_cells(answer)
    cells.pop("cut", None)
    return cells


def _digest(row: Row) -> bytes:
    """The same for rows whose inputs are alike but for case and white space."""
    texts = (" ".join(str(row.get(role) or "").casefold().split()) for role in INPUT_ROLES)
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()
