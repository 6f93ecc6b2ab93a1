"""The cells of a label column: spelling variants of one class, several classes in one cell, marks for a missing label."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hftool.data.schema import parse_literal

# marks for a missing label: SNLI has -, `datasets` has -1
MARKS = frozenset(("-", "--", "-1", "?", "n/a", "#n/a", "na", "nan"))
SIGN_MARKS = ("-", "--", "?")  # marks that are hardly ever the name of a class
MAX_MARK_SHARE, MAX_SIGN_SHARE = 0.1, 0.2  # share of the labels up to which a mark may mean a missing label
SEPARATORS = ("#", "|", ";", ",", "/", "+", "&")
NUMBER = re.compile(r"[-+]?\d+[.,/]\d+$")  # 3,5 or 1/2 is one number, not two joined labels


def fold(label: str) -> str:
    """A label without case and repeated white space, to compare spellings."""
    return " ".join(label.split()).casefold()


def is_mark(text: str) -> bool:
    """Whether a text may mark a missing label."""
    return text.casefold() in MARKS


def may_be_minus_one(classes: Iterable[str]) -> bool:
    """Whether -1 can be one of these classes: they are whole numbers, at most 1 or some of them negative."""
    labels = list(classes)
    return all(label.lstrip("-").isdecimal() for label in labels) and (
        max(map(int, labels), default=0) <= 1 or min(map(int, labels)) < 0
    )


def without_marks(counts: Counter[str], listed: Collection[str]) -> Counter[str]:
    """Label -> rows without marks for a missing label: those not among the `listed` classes, if any, else the rare ones."""
    others = {label: count for label, count in counts.items() if not is_mark(label)}
    least = min(others.values(), default=0)
    missing = set()
    for label in counts.keys() - others.keys():
        of_numbers = label == "-1" and may_be_minus_one(others)
        most = min((MAX_SIGN_SHARE if label in SIGN_MARKS else MAX_MARK_SHARE) * counts.total(), least - 1)
        rare = len(others) > 1 and counts[label] <= most and not of_numbers and not (label == "-" and "+" in others)
        if label not in listed if listed else rare:
            missing.add(label)
    return Counter({label: count for label, count in counts.items() if label not in missing})


def merge_spellings(counts: Counter[str]) -> Counter[str]:
    """Label -> rows, all spellings of a label under the most frequent one."""
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(fold(label), []).append(label)
    return Counter({labels[0]: sum(counts[label] for label in labels) for labels in groups.values()})


def find_joined(labels: Iterable[str]) -> dict[str, str]:
    """Labels that are several other labels joined -> the separator. `R&D` is one label unless R and D are labels."""
    known = {fold(label): label for label in labels}
    found = {}
    for folded, label in known.items():
        others = known.keys() - {folded}
        separators = (separator for separator in SEPARATORS if separator in folded and _is_joined(folded, separator, others))
        if not NUMBER.match(label) and (separator := next(separators, None)):
            found[label] = separator
    return found


def _is_joined(text: str, separator: str, labels: Collection[str]) -> bool:
    """Whether a text is two or more labels joined by a separator; labels may contain it themselves."""
    for label in labels:
        if not text.startswith(label):
            continue
        rest = text[len(label) :].lstrip()
        if rest.startswith(separator):
            after = rest[len(separator) :].lstrip()
            if after in labels or _is_joined(after, separator, labels):
                return True
    return False


def listed_labels(cell: Any) -> list[str]:
    """The labels of a cell with a list of at least two, or Label Studio's {"choices": [...]}; else []."""
    value: Any = parse_literal(cell) if isinstance(cell, str) else cell
    if isinstance(value, Mapping):
        value = value.get("choices")
    several = isinstance(value, (list, tuple)) and len(value) > 1 and all(isinstance(item, (str, int)) for item in value)
    return [str(item) for item in value] if several else []
