"""Maps the rows of a table to roles and ids; a rejected row keeps its line number and the reason."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hftool.data.column_contents import cell_of
from hftool.data.label_cells import MARKS, SEPARATORS, fold, is_mark, label_set, label_text, may_be_minus_one
from hftool.data.labels import NO_LABELS, Labels, tag_texts
from hftool.data.readers.tables import Rejected, Row, Table, replace_surrogates
from hftool.data.schema import TEXTS, answers_value, number_value, pair_lengths, text_value, tokens_value
from hftool.data.tag_ids import TagEncoder
from hftool.errors import DataError, RowsRejected, listing

MAX_REJECTED = 0.01  # share of rows
NO_CLASS = "no label"


@dataclass
class SplitRows:
    """The rows of a split by role, with label and tags as ids."""

    split: str
    path: str
    rows: list[Row]
    numbers: list[int]  # line number of each row
    rejected: list[Rejected]
    spelled: Mapping[str, str] = field(default_factory=dict)  # labels recognized in another spelling -> their names
    notes: tuple[str, ...] = ()  # about tags
    keys: list[Any] | None = field(default=None, repr=False, compare=False)  # see `quality.keys_of`

    def sentences(self, *, hint: str = "") -> list[str]:
        """The notices about labels; `hint` is added to that on spellings."""
        notices = list(self.notes)
        if self.spelled:
            pairs = ", ".join(f"'{label}' as '{name}'" for label, name in self.spelled.items())
            notices.append(f"labels of {self.split} are read by another spelling: {pairs}{hint}")
        without = sum(row.reason == NO_CLASS for row in self.rejected)
        if without:
            notices.append(f"{without} rows of {self.split} have no label and are left out")
        return notices

    def keep(self, indices: Iterable[int]) -> "SplitRows":
        """Only these rows, in this order."""
        chosen = list(indices)
        keys = None if self.keys is None else [self.keys[i] for i in chosen]
        return replace(self, rows=[self.rows[i] for i in chosen], numbers=[self.numbers[i] for i in chosen], keys=keys)


def map_rows(
    table: Table, mapping: Mapping[str, str], labels: Labels | None, *, max_rejected: float = MAX_REJECTED
) -> SplitRows:
    """Map all rows of a table and reject those that cannot be used; without `labels` they have none or need none.

    Rows with a mark for a missing label do not count towards `max_rejected`, -1 only if it can be no class.

    Raises:
        DataError: Labels are unknown.
        RowsRejected: Too many rows are rejected, or all.
    """
    encoder = _LabelEncoder(labels, table.path)
    numeric = labels is not None and may_be_minus_one(labels.names)
    unlabeled_marks = MARKS - {"-1"} if numeric else MARKS
    rows, numbers, rejected, unlabeled = [], [], list(table.rejected), 0
    for row, number in zip(table.rows, table.numbers, strict=True):
        mapped, reason = map_row(row, mapping)
        fault = encoder.add(mapped, row, mapping, number) if labels and not reason else reason
        if fault:
            rejected.append(Rejected(number, fault, repr(row)[:1000]))
            unlabeled += fault == NO_CLASS and (label_text(cell_of(row, mapping["label"])) or "").casefold() in unlabeled_marks
        elif fault is not None:
            rows.append(mapped)
            numbers.append(number)
    if labels and encoder.unknown:
        first, number = next(iter(encoder.unknown.items()))
        more = f" ({len(encoder.unknown)} such labels: {listing(encoder.unknown)})" if len(encoder.unknown) > 1 else ""
        what = f"{table.path}:{number}: the label '{first}' is not one of {listing(labels.index())}{more}"
        joined = labels.several and any(separator in first for separator in SEPARATORS)
        raise DataError(what, "Labels of every split must be in train" + ("; or name --labels-sep" if joined else ""))
    if not rows or len(rejected) - unlabeled > max_rejected * (len(rejected) + len(rows)):
        raise _too_many(table, rejected, len(rows), max_rejected, numeric=labels is not None and bool(labels.range))
    return SplitRows(table.split, table.path, rows, numbers, rejected, encoder.spelled, encoder.tags.notes())


def map_row(row: Row, mapping: Mapping[str, str], *, keep_bom: Sequence[str] = ("context",)) -> tuple[Row, str]:
    """Map one row, without label and tags; `keep_bom` are roles whose offsets count a leading U+FEFF.

    Returns:
        The row by role, and the reason why it cannot be used, "" if it can.
    """
    mapped: Row = {}
    for role, column in mapping.items():
        cell = cell_of(row, column)
        if role in TEXTS:
            mapped[role], reason = text_value(cell)
            if role in keep_bom and isinstance(cell, str):
                mapped[role] = replace_surrogates(cell)
        elif role == "tokens":
            mapped[role], reason = tokens_value(cell)
        else:
            continue
        if reason:
            return {}, f"{reason} in column '{column}'"
    if "answers" in mapping:
        start = row.get("answer_start")
        mapped["answers"], reason = answers_value(cell_of(row, mapping["answers"]), start, mapped["context"])
        if reason:
            return {}, reason
    return mapped, ""


class _LabelEncoder:
    """Encodes the label or the tags of rows as ids."""

    def __init__(self, labels: Labels | None, path: str) -> None:
        labels = labels or NO_LABELS
        self.index, self.folded, self.names = labels.index(), labels.folded(), labels.names
        self.tags = TagEncoder(self.names, self.index, path)
        self.number, self.several, self.separator = bool(labels.range), labels.several, labels.separator
        self.unknown: dict[str, int] = {}  # label of no class -> line number of the first
        self.spelled: dict[str, str] = {}  # label in another spelling -> name of its class

    def add(self, mapped: Row, row: Row, mapping: Mapping[str, str], number: int) -> str | None:
        """Add label or tag ids to `mapped` -> the reason to reject the row, "" if none, None if a label is unknown."""
        if "tags" in mapping:
            return self._add_tags(mapped, cell_of(row, mapping["tags"]), number)
        if "label" not in mapping:
            return ""
        cell = cell_of(row, mapping["label"])
        if self.number:
            mapped["label"], reason = number_value(cell)
            return NO_CLASS if reason and is_mark(label_text(cell) or "") else reason
        if self.several:
            return self._add_labels(mapped, label_set(cell, self.separator), number)
        value = label_text(cell)
        if value is None:
            return NO_CLASS
        label = self._id_of(value)
        if label is None and is_mark(value):
            return NO_CLASS
        if label is None:
            self.unknown.setdefault(value, number)
            return None
        mapped["label"] = label
        return ""

    def _id_of(self, value: str) -> int | None:
        """The id of a label in any spelling, None if it is unknown; another spelling is recorded."""
        if value in self.index:
            return self.index[value]
        label = self.folded.get(fold(value))
        if label is not None:
            self.spelled[value] = self.names[label]
        return label

    def _add_labels(self, mapped: Row, values: Sequence[str], number: int) -> str | None:
        """Add the sorted ids of any number of labels."""
        ids = {value: self._id_of(value) for value in values}
        if len(ids) == 1 and None in ids.values() and is_mark(values[0]):
            return NO_CLASS
        unknown = [value for value, label in ids.items() if label is None]
        for value in unknown:
            self.unknown.setdefault(value, number)
        if unknown:
            return None
        mapped["label"] = tuple(sorted({label for label in ids.values() if label is not None}))
        return ""

    def _add_tags(self, mapped: Row, cell: Any, number: int) -> str | None:
        tags, reason = tag_texts(cell)
        reason = reason or pair_lengths(mapped["tokens"], tags or [])
        if reason:
            return reason
        ids = [self.tags.get(tag, number) for tag in tags or ()]
        for tag, known in zip(tags or (), ids, strict=True):
            if known is None:
                self.unknown.setdefault(tag, number)
        mapped["tags"] = [known or 0 for known in ids]
        return None if None in ids else ""


def _too_many(table: Table, rejected: list[Rejected], usable: int, most: float, *, numeric: bool) -> RowsRejected:
    first = rejected[0] if rejected else None
    where = f"; the first is line {first.row}: {first.reason}" if first else ""
    return RowsRejected(
        f"{table.path}: {len(rejected)} of {len(rejected) + usable} rows cannot be used{where}",
        f"At most {100 * most:g} % may be unusable: correct the file or choose other columns"
        + ("; --set labels=A,B,C if the labels are classes and not numbers" if numeric else ""),
        rows=rejected_documents(table.split, table.path, rejected),
    )


def rejected_documents(split: str, path: str, rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Rejected rows as the lines of rejected.jsonl."""
    return [{"split": split, "file": path, **asdict(row)} for row in rejected]


def sample_indices(count: int, limit: int | None, seed: int) -> list[int]:
    """Indices of a seeded sample of `limit` of `count` rows, in file order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"limit-{seed}").sample(range(count), limit))
