"""From the rows of a table to rows under their roles; a row that cannot be used is set aside with its line and reason."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hftool.data.column_contents import cell_of
from hftool.data.label_cells import MARKS, fold, is_mark, may_be_minus_one
from hftool.data.labels import Labels, label_text, tag_texts
from hftool.data.readers.tables import Rejected, Row, Table, replace_surrogates
from hftool.data.schema import TEXT_ROLES, answers_value, number_value, pair_lengths, text_value, tokens_value
from hftool.data.tag_ids import TagEncoder
from hftool.errors import DataError, RowsRejected, listing

MAX_REJECTED = 0.01  # share of rows
NO_CLASS = "no label"


@dataclass
class SplitRows:
    """Rows under their roles (label and tags as ids), with the lines they came from and those left out. spelled: labels that
    were known by another spelling -> as the model names them. notes: what is to be known about tags, a sentence each."""

    split: str
    path: str
    rows: list[Row]
    numbers: list[int]
    rejected: list[Rejected]
    spelled: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def sentences(self, *, way_out: str = "") -> list[str]:
        """What is to be known about the labels. way_out: how spellings are kept apart, where they can be."""
        notices = list(self.notes)
        if self.spelled:
            pairs = ", ".join(f"'{word}' as '{name}'" for word, name in self.spelled.items())
            notices.append(f"labels of {self.split} are read by another spelling: {pairs}{way_out}")
        without = sum(row.reason == NO_CLASS for row in self.rejected)
        if without:
            notices.append(f"{without} rows of {self.split} have no label and are left out")
        return notices

    def keep(self, indices: Iterable[int]) -> "SplitRows":
        """Only these rows, in this order."""
        chosen = list(indices)
        return replace(self, rows=[self.rows[i] for i in chosen], numbers=[self.numbers[i] for i in chosen])


def map_rows(
    table: Table, mapping: Mapping[str, str], labels: Labels | None, *, max_rejected: float = MAX_REJECTED
) -> SplitRows:
    """Rows under their roles. Rows that lack what a role needs are set aside.

    labels: of the label or the tags; None where the rows have neither, or they are not wanted. Raises DataError when labels are
    unknown, RowsRejected when more than the share `max_rejected` is set aside. Rows with a mark for no label are not counted
    there; -1 is one where it can be no class.
    """
    ids = _LabelEncoder(labels, table.path)
    counted = labels is not None and may_be_minus_one(labels.names)
    unlabelled = MARKS - {"-1"} if counted else MARKS
    rows, numbers, rejected, unnamed = [], [], list(table.rejected), 0
    for row, number in zip(table.rows, table.numbers, strict=True):
        made, reason = map_row(row, mapping)
        fault = ids.add(made, row, mapping, number) if labels and not reason else reason
        if fault:
            rejected.append(Rejected(number, fault, repr(row)[:1000]))
            unnamed += fault == NO_CLASS and (label_text(cell_of(row, mapping["label"])) or "").casefold() in unlabelled
        elif fault is not None:
            rows.append(made)
            numbers.append(number)
    if labels and ids.unknown:
        raise _unknown_labels(table, ids.unknown, labels)
    if not rows or len(rejected) - unnamed > max_rejected * (len(rejected) + len(rows)):
        raise _too_many(table, rejected, len(rows), max_rejected, amounts=labels is not None and bool(labels.range))
    return SplitRows(table.split, table.path, rows, numbers, rejected, ids.spelled, ids.tags.notes())


def map_row(row: Row, mapping: Mapping[str, str], *, keep_bom: Sequence[str] = ("context",)) -> tuple[Row, str]:
    """One row under its roles but label and tags, and the reason why it cannot be used ("" when it can).

    keep_bom: the roles whose text keeps a U+FEFF at its front: what is answered are places in it, counted from the first
    character.
    """
    made: Row = {}
    for role, column in mapping.items():
        cell = cell_of(row, column)
        if role in TEXT_ROLES:
            made[role], reason = text_value(cell)
            if role in keep_bom and isinstance(cell, str):
                made[role] = replace_surrogates(cell)
        elif role == "tokens":
            made[role], reason = tokens_value(cell)
        else:
            continue
        if reason:
            return {}, f"{reason} in column '{column}'"
    if "answers" in mapping:
        start = row.get("answer_start")
        made["answers"], reason = answers_value(cell_of(row, mapping["answers"]), start, made["context"])
        if reason:
            return {}, reason
    return made, ""


class _LabelEncoder:
    """Label and tags of rows as ids. `unknown` gathers the words that are no label, with the line of the first; `spelled` those
    that are one in another spelling, with its name."""

    def __init__(self, labels: Labels | None, path: str) -> None:
        self.index = labels.index() if labels else {}
        self.folded = labels.folded() if labels else {}
        self.names = labels.names if labels else ()
        self.tags = TagEncoder(labels.names if labels else (), self.index, path)
        self.number = bool(labels and labels.range)
        self.unknown: dict[str, int] = {}
        self.spelled: dict[str, str] = {}

    def add(self, made: Row, row: Row, mapping: Mapping[str, str], number: int) -> str | None:
        """Put label or tags into `made` -> the reason why the row cannot be used, "" when it can, None when it is unknown."""
        if "tags" in mapping:
            return self._add_tags(made, cell_of(row, mapping["tags"]), number)
        if "label" not in mapping:
            return ""
        cell = cell_of(row, mapping["label"])
        if self.number:
            made["label"], reason = number_value(cell)
            return NO_CLASS if reason and is_mark(label_text(cell) or "") else reason
        value = label_text(cell)
        if value is None:
            return NO_CLASS
        label = self.index.get(value, self.folded.get(fold(value)))
        if label is None and is_mark(value):
            return NO_CLASS
        if label is None:
            self.unknown.setdefault(value, number)
            return None
        if value not in self.index:
            self.spelled[value] = self.names[label]
        made["label"] = label
        return ""

    def _add_tags(self, made: Row, cell: Any, number: int) -> str | None:
        tags, reason = tag_texts(cell)
        reason = reason or pair_lengths(made["tokens"], tags or [])
        if reason:
            return reason
        found = [self.tags.get(tag, number) for tag in tags or ()]
        for tag, known in zip(tags or (), found, strict=True):
            if known is None:
                self.unknown.setdefault(tag, number)
        made["tags"] = [known or 0 for known in found]
        return None if None in found else ""


def _unknown_labels(table: Table, unknown: Mapping[str, int], labels: Labels) -> DataError:
    first, number = next(iter(unknown.items()))
    return DataError(
        f"{table.path}:{number}: the label '{first}' is not one of {listing(labels.index())}"
        + (f" ({len(unknown)} such labels: {listing(unknown)})" if len(unknown) > 1 else ""),
        "Labels of every split must be in train",
    )


def _too_many(table: Table, rejected: list[Rejected], usable: int, most: float, *, amounts: bool) -> RowsRejected:
    total = len(rejected) + usable
    first = rejected[0] if rejected else None
    where = f"; the first is line {first.row}: {first.reason}" if first else ""
    return RowsRejected(
        f"{table.path}: {len(rejected)} of {total} rows cannot be used{where}",
        f"At most {100 * most:g} % may be unusable: mend the file or choose other columns"
        + ("; --set labels=A,B,C if the labels are classes and no amounts" if amounts else ""),
        rows=rejected_documents(table.split, table.path, rejected),
    )


def rejected_documents(split: str, path: str, rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Rows that cannot be used as the lines of rejected.jsonl."""
    return [{"split": split, "file": path, **row.as_dict()} for row in rejected]


def sample_indices(count: int, limit: int | None, seed: int) -> list[int]:
    """Positions of a seeded sample of `limit` rows, in file order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"limit-{seed}").sample(range(count), limit))
