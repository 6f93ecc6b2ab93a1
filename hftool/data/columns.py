"""Which column is which, what the labels are called, and what is wrong with the rows.

Nothing is guessed in silence: each choice comes back as a sentence for the user, and what is ambiguous is an error.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.sources import Rejected, Row, Table, text_of, whole_characters
from hftool.errors import DataError, UsageError, did_you_mean, listing
from hftool.registry.tasks import Task

ROLES = (
    "text",
    "text_pair",
    "label",
    "tokens",
    "tags",
    "context",
    "question",
    "answers",
    "source",
    "target",
    "prompt",
    "completion",
)
# Common names by role, the surest first. Pairs of texts are known by their two names together.
COMMON_NAMES = {
    "text": ("text", "sentence", "review", "content", "comment", "document", "message", "body", "tweet", "headline"),
    "label": ("label", "labels", "class", "category", "sentiment", "stars", "rating", "polarity", "target"),
}
COMMON_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
)
WHOLE_NUMBER = re.compile(r"^(-?[0-9]+)\.0+$")  # pandas writes 1.0 where a cell of the column is empty
IGNORED = "\ufeff\u200b\0"  # characters without a shape that are no white space
MAX_LABELS = 1000
MAX_REJECTED = 0.01  # share of rows


def map_columns(
    columns: Sequence[str],
    wanted: Sequence[str],
    *,
    given: Mapping[str, str],
    known: Mapping[str, str],
    path: str,
    optional: Sequence[str] = (),
) -> dict[str, str]:
    """Role -> column: by the user's flags, else by the task, else by common names.

    Raises UsageError (a role that does not exist), DataError that lists the columns there are.
    """
    for role in given:
        if role not in ROLES:
            raise UsageError(f"unknown role '{role}'", did_you_mean(role, ROLES, otherwise="Roles: " + ", ".join(ROLES)))
    for role, column in given.items():
        if column not in columns:
            raise missing_column(path, columns, column, role)
    mapping = {role: column for role, column in {**known, **given}.items() if column in columns and role in wanted}
    if "text" in wanted and "text" not in mapping:
        lower = {c.lower(): c for c in reversed(columns)}
        pair = next((p for p in COMMON_PAIRS if set(p) <= set(lower)), None)
        if pair and "text_pair" in wanted and "text_pair" not in mapping:
            mapping["text"], mapping["text_pair"] = lower[pair[0]], lower[pair[1]]
    for role in wanted:
        taken = set(mapping.values())
        if role not in mapping:
            lower = {c.lower(): c for c in reversed(columns) if c not in taken}
            found = next((lower[n] for n in COMMON_NAMES.get(role, (role,)) if n in lower), None)
            if found is not None:
                mapping[role] = found
            elif role not in optional:
                raise missing_column(path, columns, known.get(role, COMMON_NAMES.get(role, (role,))[0]), role)
    _check_roles(mapping, given)
    return mapping


def _check_roles(mapping: Mapping[str, str], given: Mapping[str, str]) -> None:
    """A label that is read as a text gives a model that is always right and knows nothing."""
    for column, count in Counter(mapping.values()).items():
        if count > 1:
            roles = [role for role in ROLES if mapping.get(role) == column]
            other = next((role for role in roles if role not in given), roles[-1])
            raise UsageError(f"column '{column}' is both {' and '.join(roles)}", f"Name another with {_flag(other)}")


def _flag(role: str) -> str:
    return {"text": "--text", "text_pair": "--text-pair", "label": "--label"}.get(role, f"--column {role}=NAME")


def missing_column(path: str, columns: Sequence[str], column: str, role: str) -> DataError:
    """The error that lists the columns there are, with the flag to type."""
    flag = _flag(role)
    near = did_you_mean(column, columns).removeprefix("Did you mean '").removesuffix("'?")
    common = COMMON_NAMES.get(role, ())
    likely = near or next((name for name in columns if name.lower() in common), "COLUMN")
    example = f"{flag} {likely}" if flag.startswith("--") and "=" not in flag else flag
    return DataError(f"{path} has no column '{column}'; it has {listing(columns)}", f"Try {example}")


def label_text(value: Any) -> str | None:
    """A label's value as it is compared: stripped, 1 and 1.0 and "1" and "1.0" alike. None when there is none."""
    text = text_of(value)
    if text is None:
        return None
    text = whole_characters(text.strip(" \t\r\n\ufeff\u00a0"))
    return WHOLE_NUMBER.sub(r"\1", text) or None


@dataclass(frozen=True)
class Labels:
    """The classes of a task: `values` as they stand in the data, `names` as they stand in every answer, in id order."""

    values: tuple[str, ...]
    names: tuple[str, ...]
    origin: str

    def index(self) -> dict[str, int]:
        """Value or name -> id. Where a value of one class is the name of another, the value wins."""
        words = [*enumerate(self.names), *enumerate(self.values)]
        return {label_text(word) or word: i for i, word in words}

    def sentence(self) -> str:
        """The choice in words."""
        pairs = ", ".join(f"{i}={name}" for i, name in enumerate(self.names[:10]))
        more = f" and {len(self.names) - 10} more" if len(self.names) > 10 else ""
        return f"labels: {pairs}{more} ({self.origin})"


def find_labels(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The classes of `column`: as the data set or the task names them, or the values, sorted. `ordered` sets their order.

    Whole numbers are sorted as numbers (0- or 1-based), false before true, anything else by the alphabet.
    Raises DataError for one class only, numbers that are no classes, or more classes than any task has.
    """
    if any(isinstance(row.get(column), (list, tuple, dict, bytes)) for row in table.rows):
        raise DataError(
            f"column '{column}' of {table.path} holds lists or bytes, not classes", "Choose the column with --label"
        )
    counts = Counter(label for row in table.rows if (label := label_text(row.get(column))) is not None)
    if not counts:
        raise DataError(f"{table.path} has no label in column '{column}'", "Choose the column with --label")
    if table.label_names.get(column):
        names = table.label_names[column]
        labels = Labels(tuple(str(i) for i in range(len(names))), names, "as the data set names them")
    elif known and set(counts) <= {word for pair in known for word in pair}:
        labels = Labels(tuple(v for v, _ in known), tuple(n for _, n in known), "as the task names them")
    else:
        labels = Labels((), (), "") if ordered else _sorted_labels(counts, table, column)
    if ordered:
        labels = _in_order(labels, ordered)
    present = {labels.index()[label] for label in counts if label in labels.index()}
    unknown = sorted(set(counts) - set(labels.index()))
    if unknown:
        raise DataError(
            f"{table.path} has labels that are not in the list: {listing(unknown)}; the list has {listing(labels.names)}",
            "Mend --set labels=A,B,C",
        )
    if len(present) < 2:
        raise DataError(
            f"{table.path} has only one class in column '{column}': '{next(iter(counts))}'",
            "A classifier needs two; choose the column with --label",
        )
    return labels


def _in_order(labels: Labels, ordered: Sequence[str]) -> Labels:
    """The labels in the user's order, by name or by value; a list that names others stands alone."""
    twice = [name for name, count in Counter(ordered).items() if count > 1]
    if twice:
        raise UsageError(f"labels names '{twice[0]}' more than once", "Mend --set labels=A,B,C")
    origin = "in the order given"
    for words in (labels.names, labels.values):
        if set(words) == set(ordered):
            places = [words.index(word) for word in ordered]
            return Labels(tuple(labels.values[i] for i in places), tuple(labels.names[i] for i in places), origin)
    return Labels(tuple(ordered), tuple(ordered), origin)


def _sorted_labels(counts: Counter[str], table: Table, column: str) -> Labels:
    values = sorted(counts)
    try:
        values.sort(key=int)
        origin = "sorted as numbers; --set labels=A,B sets the order"
    except ValueError:
        origin = "sorted by the alphabet; --set labels=A,B sets the order"
        if all(_is_fraction(value) for value in values):
            raise DataError(
                f"column '{column}' of {table.path} holds numbers such as {values[0]}, not classes",
                "Choose the column of classes with --label",
            ) from None
    if len(values) > MAX_LABELS or (len(values) > 20 and len(values) > 0.5 * sum(counts.values())):
        raise DataError(
            f"column '{column}' of {table.path} has {len(values)} different values in {sum(counts.values())} "
            "rows: that is no class",
            "Choose the column of classes with --label",
        )
    return Labels(tuple(values), tuple(values), origin)


def _is_fraction(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


@dataclass
class Prepared:
    """Rows under their roles (text, text_pair, label as id), with the lines they came from and those left out."""

    split: str
    path: str
    rows: list[Row]
    numbers: list[int]
    rejected: list[Rejected]

    def keep(self, indices: Iterable[int]) -> "Prepared":
        """Only these rows, in this order."""
        chosen = list(indices)
        return Prepared(self.split, self.path, [self.rows[i] for i in chosen], [self.numbers[i] for i in chosen], self.rejected)


def prepare(table: Table, mapping: Mapping[str, str], labels: Labels | None) -> Prepared:
    """Rows under their roles. Rows without a text or a label are set aside.

    `labels` None means that labels are not wanted. Raises DataError when labels are unknown or over 1 % is set aside.
    """
    index = labels.index() if labels else {}
    rows, numbers, rejected = [], [], list(table.rejected)
    unknown: dict[str, int] = {}
    for row, number in zip(table.rows, table.numbers, strict=True):
        made, reason = prepare_row(row, mapping)
        if labels and not reason:
            value = label_text(row.get(mapping["label"]))
            if value is None:
                reason = "no label"
            elif value in index:
                made["label"] = index[value]
            else:
                unknown.setdefault(value, number)
        if reason:
            rejected.append(Rejected(number, reason, repr(row)[:1000]))
        else:
            rows.append(made)
            numbers.append(number)
    if labels and unknown:
        raise _unknown_labels(table, unknown, labels)
    _check_rejected(table, rejected, len(rows))
    return Prepared(table.split, table.path, rows, numbers, rejected)


def prepare_row(row: Row, mapping: Mapping[str, str]) -> tuple[Row, str]:
    """One row under its roles, and the reason why it cannot be used ("" when it can)."""
    made: Row = {}
    for role in ("text", "text_pair"):
        if role in mapping:
            value = row.get(mapping[role])
            if not isinstance(value, str):
                value = text_of(value) if not isinstance(value, (list, tuple, dict, bytes)) else None
            if value is None or all(letter.isspace() or letter in IGNORED for letter in value):
                return {}, f"no text in column '{mapping[role]}'"
            made[role] = whole_characters(value).lstrip("\ufeff")
    return made, ""


def _unknown_labels(table: Table, unknown: Mapping[str, int], labels: Labels) -> DataError:
    first, number = next(iter(unknown.items()))
    return DataError(
        f"{table.path}:{number}: the label '{first}' is not one of {listing(labels.index())}"
        + (f" ({len(unknown)} such labels: {listing(unknown)})" if len(unknown) > 1 else ""),
        "Labels of every split must be in train",
    )


def _check_rejected(table: Table, rejected: list[Rejected], usable: int) -> None:
    total = len(rejected) + usable
    if usable and len(rejected) <= MAX_REJECTED * total:
        return
    first = rejected[0] if rejected else None
    where = f"; the first is line {first.row}: {first.reason}" if first else ""
    raise DataError(
        f"{table.path}: {len(rejected)} of {total} rows cannot be used{where}",
        "At most 1 % may be unusable: mend the file or choose other columns",
    )


def has_labels(table: Table, column: str | None) -> bool:
    """False for a test split whose labels are missing or, as in GLUE, all -1."""
    if column is None or column not in table.columns:
        return False
    return any(label_text(row.get(column)) not in (None, "-1") for row in table.rows)


def own_names(table: Table, column: str, row: Task | None) -> dict[str, str]:
    """Value -> name, where the data set or the task names its classes; empty where it does not."""
    if row is not None:
        return dict(row.labels)
    return {str(i): name for i, name in enumerate(table.label_names.get(column, ()))}


def sample_indices(count: int, limit: int | None, seed: int) -> list[int]:
    """Positions of a seeded sample of `limit` rows, in file order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"limit-{seed}").sample(range(count), limit))
