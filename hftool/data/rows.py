"""From the rows of a table to rows under their roles; a row that cannot be used is set aside with its line and reason."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hftool.data.columns import cell_of
from hftool.data.labels import MISSING, Labels, label_text, tag_texts
from hftool.data.roles import TEXTS, answers_value, number_value, pair_lengths, text_value, tokens_value
from hftool.data.sources import Rejected, Row, Table, whole_characters
from hftool.data.tagsets import TagIds
from hftool.errors import DataError, listing

MAX_REJECTED = 0.01  # share of rows
NO_CLASS = "no label"


@dataclass
class Prepared:
    """Rows under their roles (label and tags as ids), with the lines they came from and those left out. notes: labels that were
    matched although they are written otherwise, a sentence each."""

    split: str
    path: str
    rows: list[Row]
    numbers: list[int]
    rejected: list[Rejected]
    notes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """What is to be known about the labels."""
        return list(self.notes)

    def keep(self, indices: Iterable[int]) -> "Prepared":
        """Only these rows, in this order."""
        chosen = list(indices)
        return replace(self, rows=[self.rows[i] for i in chosen], numbers=[self.numbers[i] for i in chosen])


def prepare(table: Table, mapping: Mapping[str, str], labels: Labels | None) -> Prepared:
    """Rows under their roles. Rows that lack what a role needs are set aside.

    labels: of the label or the tags; None where the rows have neither, or they are not wanted. Raises DataError when labels are
    unknown or over 1 % is set aside. Rows that the data set itself gives none of the classes it names are not counted there.
    """
    ids = _Ids(labels, table.path)
    named = labels is not None and not labels.range and bool(table.label_names.get(mapping.get("label", "")))
    rows, numbers, rejected, unnamed = [], [], list(table.rejected), 0
    for row, number in zip(table.rows, table.numbers, strict=True):
        made, reason = prepare_row(row, mapping)
        fault = ids.add(made, row, mapping, number) if labels and not reason else reason
        if fault:
            rejected.append(Rejected(number, fault, repr(row)[:1000]))
            unnamed += named and fault == NO_CLASS and label_text(cell_of(row, mapping["label"])) == MISSING
        elif fault is not None:
            rows.append(made)
            numbers.append(number)
    if labels and ids.unknown:
        raise _unknown_labels(table, ids.unknown, labels)
    _check_rejected(table, rejected, len(rows), unnamed, amounts=labels is not None and bool(labels.range))
    return Prepared(table.split, table.path, rows, numbers, rejected, ids.tags.notes())


def prepare_row(row: Row, mapping: Mapping[str, str], *, marked: Sequence[str] = ("context",)) -> tuple[Row, str]:
    """One row under its roles but label and tags, and the reason why it cannot be used ("" when it can).

    marked: the roles whose text keeps a U+FEFF at its front: what is answered are places in it, counted from the first
    character.
    """
    made: Row = {}
    for role, column in mapping.items():
        cell = cell_of(row, column)
        if role in TEXTS:
            made[role], reason = text_value(cell)
            if role in marked and isinstance(cell, str):
                made[role] = whole_characters(cell)
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


class _Ids:
    """Label and tags of rows as ids. `unknown` gathers the words that are no label, with the line of the first."""

    def __init__(self, labels: Labels | None, path: str) -> None:
        self.index = labels.index() if labels else {}
        self.tags = TagIds(labels.names if labels else (), self.index, path)
        self.number = bool(labels and labels.range)
        self.unknown: dict[str, int] = {}

    def add(self, made: Row, row: Row, mapping: Mapping[str, str], number: int) -> str | None:
        """Put label or tags into `made` -> the reason why the row cannot be used, "" when it can, None when it is unknown."""
        if "tags" in mapping:
            return self._add_tags(made, cell_of(row, mapping["tags"]), number)
        if "label" not in mapping:
            return ""
        cell = cell_of(row, mapping["label"])
        if self.number:
            made["label"], reason = number_value(cell)
            return reason
        value = label_text(cell)
        if value is None or (value == MISSING and value not in self.index):
            return NO_CLASS
        if value not in self.index:
            self.unknown.setdefault(value, number)
            return None
        made["label"] = self.index[value]
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


def _check_rejected(table: Table, rejected: list[Rejected], usable: int, unnamed: int, *, amounts: bool) -> None:
    total = len(rejected) + usable
    if usable and len(rejected) - unnamed <= MAX_REJECTED * total:
        return
    first = rejected[0] if rejected else None
    where = f"; the first is line {first.row}: {first.reason}" if first else ""
    raise DataError(
        f"{table.path}: {len(rejected)} of {total} rows cannot be used{where}",
        "At most 1 % may be unusable: mend the file or choose other columns"
        + ("; --set labels=A,B,C if the labels are classes and no amounts" if amounts else ""),
    )


def sample_indices(count: int, limit: int | None, seed: int) -> list[int]:
    """Positions of a seeded sample of `limit` rows, in file order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"limit-{seed}").sample(range(count), limit))
