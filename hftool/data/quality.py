"""What makes a measurement lie: copies of a row, one text with two labels, rows of validation that are in train."""

import random
import unicodedata
from dataclasses import dataclass
from typing import Any

from hftool.data.readers.tables import Row
from hftool.data.rows import SplitRows
from hftool.errors import DataError

MAX_LEAKED = 0.05  # share of validation rows, of those that are long enough to be learnt by heart
MAX_SHORT_LEAKED = 0.5  # share of validation rows, however short
LEAST_LEARNT = 50  # characters of a row from which on it is learnt by heart: a dash, a date or a place stands in every paper
LEAST_PASSAGE = 80  # characters of plain text, from which on a copy is no accident
ASKED = ("text", "text_pair", "tokens", "question", "context", "source", "prompt")
LEARNT = ("label", "tags", "answers", "target", "completion")


def split_validation(train: SplitRows, share: float, seed: int) -> tuple[SplitRows, SplitRows]:
    """Cut a validation split off train: seeded, the same share of each label, at least one row where there are two texts.

    Rows of the same text, and questions about the same context, stay together: a copy in both would be a leak of our own
    making.
    """
    rng = random.Random(f"validation-{seed}")
    copies: dict[Any, list[int]] = {}
    for i, row in enumerate(train.rows):
        copies.setdefault(row.get("context") or _key(row) or i, []).append(i)
    groups: dict[Any, list[list[int]]] = {}
    for places in copies.values():
        label = train.rows[places[0]].get("label")
        groups.setdefault(label if isinstance(label, int) else None, []).append(places)
    cut: set[int] = set()
    for key in sorted(groups, key=str):
        group = groups[key]
        rng.shuffle(group)
        wanted, taken = max(1, round(share * sum(map(len, group)))), 0
        for places in group[:-1]:  # the last text stays in train
            if taken + len(places) <= wanted:
                cut.update(places)
                taken += len(places)
        if not taken and len(group) > 1:
            smallest = min(group, key=len)
            cut.update(smallest)
    if not cut:
        raise DataError(f"{train.path} has too few rows to cut a validation split off", "Name one with --validation")
    rest = train.keep(i for i in range(len(train.rows)) if i not in cut)
    validation = train.keep(sorted(cut))
    return rest, SplitRows("validation", train.path, validation.rows, validation.numbers, [])


@dataclass(frozen=True)
class Quality:
    """What is suspicious in the rows: counts, and the sentences for the user."""

    duplicates: int
    conflicts: int
    leaked: int
    validation_rows: int

    def sentences(self) -> list[str]:
        """One sentence for each count that is not zero."""
        notices = []
        if self.duplicates:
            notices.append(f"{self.duplicates} rows of train repeat an earlier one")
        if self.conflicts:
            notices.append(f"{self.conflicts} texts of train have more than one label")
        if self.leaked:
            share = 100 * self.leaked / self.validation_rows
            notices.append(
                f"{self.leaked} of {self.validation_rows} validation rows are in train ({share:.1f} %): the metrics flatter"
            )
        return notices


def _key(row: Row) -> tuple[str, ...] | None:
    """What makes two rows the same: all that is asked, without case and white space. A short line of plain text has none: in
    every novel somebody says yes."""
    roles = [role for role in ASKED if role in row]
    texts = [" ".join(row[role]) if role == "tokens" else str(row[role]) for role in roles]
    key = tuple(" ".join(text.casefold().split()) for text in texts)
    is_plain = roles == ["text"] and not any(role in row for role in LEARNT)
    return None if is_plain and len(key[0]) < LEAST_PASSAGE else key


def _is_long(key: tuple[str, ...] | None) -> bool:
    """Whether a row says enough to be learnt by heart; a letter of Chinese, Japanese or Korean counts for two."""
    texts = key or ()
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for text in texts if not text.isascii() for letter in text)
    return sum(map(len, texts)) + wide >= LEAST_LEARNT


def check_quality(train: SplitRows, validation: SplitRows, *, allow_leak: bool) -> Quality:
    """Count duplicates, conflicting labels and leaks.

    Raises:
        DataError: Over 5 % of validation are long rows that leaked from train, or over half of it leaked.
    """
    seen: dict[tuple[str, ...], set[str]] = {}
    repeated = 0
    for row in train.rows:
        key = _key(row)
        if key is not None:
            learnt = repr([row.get(role) for role in LEARNT])
            repeated += learnt in seen.get(key, ())
            seen.setdefault(key, set()).add(learnt)
    several = any("target" in row or "completion" in row for row in train.rows[:1])  # a text may have two translations
    conflicts = 0 if several else sum(len(labels) > 1 for labels in seen.values())
    keys = [_key(row) for row in validation.rows]
    at = [i for i, key in enumerate(keys) if key in seen]
    quality = Quality(repeated, conflicts, len(at), len(keys))
    long = [i for i in at if _is_long(keys[i])]
    if (len(long) > MAX_LEAKED * len(keys) or len(at) > MAX_SHORT_LEAKED * len(keys)) and not allow_leak:
        rows = ", ".join(str(validation.numbers[i]) for i in (long or at)[:5])
        raise DataError(
            f"{len(at)} of {len(keys)} validation rows are in train as well (lines {rows} of {validation.path})",
            "Mend the split, or train all the same with --allow-leak",
        )
    return quality
