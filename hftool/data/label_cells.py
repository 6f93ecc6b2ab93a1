"""The cells of a label column: spelling variants of one class, several labels in one cell, marks for a missing label."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from hftool.data.readers.tables import cell_text, replace_surrogates
from hftool.data.schema import AROUND, parse_literal

# marks for a missing label: SNLI has -, `datasets` has -1
MARKS = frozenset(("-", "--", "-1", "?", "n/a", "#n/a", "na", "nan"))
SIGN_MARKS = ("-", "--", "?")  # marks that are hardly ever the name of a class
MAX_MARK_SHARE, MAX_SIGN_SHARE = 0.1, 0.2  # share of the labels up to which a mark may mean a missing label
SEPARATORS = ("#", "|", ";", ",", "/", "+", "&")
WHOLE_NUMBER = re.compile(r"^(-?[0-9]+)\.0+$")  # pandas exports 1.0 if a cell of the column is empty
MAX_LABELS = 1000
NUMBER = re.compile(r"[-+]?\d+[.,/]\d+$")  # 3,5 or 1/2 is one number, not two joined labels


def label_text(value: Any) -> str | None:
    """A label as it is compared: stripped; 1, 1.0, "1" and "1.0" are the same. None if there is none."""
    text = value if type(value) is str else cell_text(value)
    return None if text is None else _label_of_text(text)


@lru_cache(maxsize=4 * MAX_LABELS)  # a column has few labels and many rows
def _label_of_text(text: str) -> str | None:
    text = replace_surrogates(text.strip(AROUND))
    return WHOLE_NUMBER.sub(r"\1", text) or None


def list_of(cell: Any) -> list[Any] | None:
    """The items of a cell that is a list or an array, or Label Studio's {"choices": [...]}; None for any other."""
    value = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(value, Mapping):
        value = value.get("choices")
    return list(value) if isinstance(value, (list, tuple)) else None


def label_set(cell: Any, separator: str = "") -> list[str]:
    """The labels of a cell with any number of them: a list, or a text in which the separator stands between them."""
    items = list_of(cell)
    if items is None:
        text = cell_text(cell) or ""
        items = text.split(separator) if separator else [text]
    return list(dict.fromkeys(label for item in items if (label := label_text(item)) is not None))


def free_separator(labels: Iterable[str]) -> str:
    """A separator that no label contains; "|" if each of them is in one."""
    names = list(labels)
    candidates = ("|", ";", ",", "#", "/", "&", "+")
    return next((one for one in candidates if not any(one in name for name in names)), candidates[0])


def likely_separator(labels: Iterable[str]) -> str:
    """The separator that several labels contain, with a part that two of them share; "" if there is none."""
    known = [label for label in labels if not NUMBER.match(label)]
    for separator in SEPARATORS:
        joined = [label for label in known if len(label_set(label, separator)) > 1]
        parts = Counter(fold(part) for label in known for part in label_set(label, separator))
        if len(joined) > 1 and max(parts.values()) > 1:
            return separator
    return ""


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
