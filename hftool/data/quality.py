"""Data-quality checks: duplicate rows, conflicting labels, and leakage between train and validation."""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hftool.data.readers.tables import Row
from hftool.data.rows import SplitRows
from hftool.data.schema import display_width
from hftool.errors import DataError

MAX_LEAKED = 0.05  # share of validation rows, counting those long enough to memorize
MAX_SHORT_LEAKED = 0.5  # share of validation rows of any length
MIN_LONG = 50  # width from which on a copy is leakage: a dash, a date or a place name is common to unrelated texts
LEAST_PASSAGE = 80  # characters of plain text from which on a copy is no coincidence
INPUT_ROLES = ("text", "text_pair", "tokens", "question", "context", "source", "prompt")
TARGET_ROLES = ("label", "tags", "answers", "target", "completion")


def split_validation(train: SplitRows, share: float, seed: int) -> tuple[SplitRows, SplitRows]:
    """Split a validation set off train, stratified by label and without leakage.

    Rows with the same text, and questions about the same context, stay in one split. Each label with two texts gives at least
    one row.

    Raises:
        DataError: There are too few rows.
    """
    rng = random.Random(f"validation-{seed}")
    copies: dict[Any, list[int]] = {}
    for i, (row, key) in enumerate(zip(train.rows, keys_of(train), strict=True)):
        copies.setdefault(row.get("context") or (i if key is None else key), []).append(i)
    by_label: dict[Any, list[list[int]]] = {}
    for indices in copies.values():
        label = train.rows[indices[0]].get("label")
        by_label.setdefault(label if isinstance(label, int) else None, []).append(indices)
    held_out: set[int] = set()
    for key in sorted(by_label, key=str):
        groups = by_label[key]
        rng.shuffle(groups)
        wanted, taken = max(1, round(share * sum(map(len, groups)))), 0
        for indices in groups[:-1]:  # the last text stays in train
            if taken + len(indices) <= wanted:
                held_out.update(indices)
                taken += len(indices)
        if not taken and len(groups) > 1:
            smallest = min(groups, key=len)
            held_out.update(smallest)
    if not held_out:
        raise DataError(f"{train.path} has too few rows to hold out a validation split", "Name one with --validation")
    rest = train.keep(i for i in range(len(train.rows)) if i not in held_out)
    validation = train.keep(sorted(held_out))
    return rest, SplitRows("validation", train.path, validation.rows, validation.numbers, [], keys=validation.keys)


@dataclass(frozen=True)
class Quality:
    """The number of duplicates and conflicting labels in train, and of validation rows that are in train as well."""

    duplicates: int
    conflicts: int
    leaked: int
    validation_rows: int

    def sentences(self) -> list[str]:
        """A notice for each number that is not zero."""
        share = 100 * self.leaked / max(self.validation_rows, 1)
        leaked = f"{self.leaked} of {self.validation_rows} validation rows are in train ({share:.1f} %): metrics are inflated"
        notices = {
            f"{self.duplicates} rows of train repeat an earlier one": self.duplicates,
            f"{self.conflicts} texts of train have more than one label": self.conflicts,
            leaked: self.leaked,
        }
        return [notice for notice, count in notices.items() if count]


def keys_of(split: SplitRows) -> list[Any]:
    """What rows with the same inputs share, once for a split: all inputs without case and white space.

    A short line of plain text has none: in every novel somebody says yes.
    """
    if split.keys is None:
        split.keys = list(map(_key, split.rows))
    return split.keys


def _key(row: Row) -> str | tuple[str, ...] | None:
    """The key of a row: a text where it has one input."""
    roles, is_plain = _roles(tuple(row))
    if roles == ("text",):
        key = _folded(row["text"])
        return None if is_plain and len(key) < LEAST_PASSAGE else key
    return tuple([_folded(" ".join(row[role]) if role == "tokens" else str(row[role])) for role in roles])


def _folded(text: str) -> str:
    """A text without case and white space; the same object if it has neither, to save memory."""
    key = " ".join(text.casefold().split())
    return text if key == text else key


@lru_cache
def _roles(present: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """The inputs among the roles of a row, and whether it is plain text."""
    inputs = tuple(role for role in INPUT_ROLES if role in present)
    return inputs, inputs == ("text",) and not any(role in present for role in TARGET_ROLES)


def check_quality(train: SplitRows, validation: SplitRows, *, allow_leak: bool) -> Quality:
    """Count duplicates, conflicting labels and leaked rows.

    Raises:
        DataError: More than 5 % of the validation rows are long ones that are in train, or more than half of any length;
            not with `allow_leak`.
    """
    seen: dict[Any, Any] = {}  # the target of the first row with this key
    others: dict[Any, set[Any]] = {}  # the other targets of rows with this key
    duplicates = 0
    for row, key in zip(train.rows, keys_of(train), strict=True):
        if key is None:
            continue
        label = row.get("label")
        target = repr([row.get(role) for role in TARGET_ROLES]) if label is None else label
        if key not in seen:
            seen[key] = target
        elif target == seen[key] or target in others.get(key, ()):
            duplicates += 1
        else:
            others.setdefault(key, set()).add(target)
    several = any("target" in row or "completion" in row for row in train.rows[:1])  # a text may have two translations
    conflicts = 0 if several else len(others)
    keys = keys_of(validation)
    leaked = [i for i, key in enumerate(keys) if key in seen]
    long = [i for i in leaked if sum(map(display_width, keys[i] or ())) >= MIN_LONG]
    if (len(long) > MAX_LEAKED * len(keys) or len(leaked) > MAX_SHORT_LEAKED * len(keys)) and not allow_leak:
        rows = ", ".join(str(validation.numbers[i]) for i in (long or leaked)[:5])
        what = f"{len(leaked)} of {len(keys)} validation rows are in train as well (lines {rows} of {validation.path})"
        raise DataError(what, "Correct the split, or train anyway with --allow-leak")
    return Quality(duplicates, conflicts, len(leaked), len(keys))
