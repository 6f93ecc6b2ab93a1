"""Which column is which, what the labels are called, and what is wrong with the rows.

Nothing is guessed in silence: each choice comes back as a sentence for the user, and what is ambiguous is an error.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.sources import Rejected, Row, Table, text_of
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
MAX_LABELS = 1000
MAX_REJECTED = 0.01  # share of rows
MAX_LEAKED = 0.05  # share of validation rows


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
            raise _missing(path, columns, column, role)
    mapping = {role: column for role, column in {**known, **given}.items() if column in columns and role in wanted}
    if "text" in wanted and "text" not in mapping:
        pair = next((p for p in COMMON_PAIRS if set(p) <= set(columns)), None)
        if pair and "text_pair" in wanted and "text_pair" not in mapping:
            mapping["text"], mapping["text_pair"] = pair
    for role in wanted:
        taken = set(mapping.values())
        if role not in mapping:
            lower = {c.lower(): c for c in reversed(columns) if c not in taken}
            found = next((lower[n] for n in COMMON_NAMES.get(role, (role,)) if n in lower), None)
            if found is not None:
                mapping[role] = found
            elif role not in optional:
                raise _missing(path, columns, known.get(role, COMMON_NAMES.get(role, (role,))[0]), role)
    return mapping


def _missing(path: str, columns: Sequence[str], column: str, role: str) -> DataError:
    flag = {"text": "--text", "text_pair": "--text-pair", "label": "--label"}.get(role, f"--column {role}=NAME")
    near = did_you_mean(column, columns).removeprefix("Did you mean '").removesuffix("'?")
    example = f"{flag} {near or 'COLUMN'}" if flag.startswith("--") and "=" not in flag else flag
    return DataError(f"{path} has no column '{column}'; it has {listing(columns)}", f"Try {example}")


def label_text(value: Any) -> str | None:
    """A label's value as it is compared: stripped, 1 and 1.0 and "1" alike. None when there is none."""
    text = text_of(value)
    return text.strip() or None if text is not None else None


@dataclass(frozen=True)
class Labels:
    """The classes of a task: `values` as they stand in the data, `names` as they stand in every answer, in id order."""

    values: tuple[str, ...]
    names: tuple[str, ...]
    origin: str

    def index(self) -> dict[str, int]:
        """Value or name -> id. Where a value of one class is the name of another, the value wins."""
        by_name = {name: i for i, name in enumerate(self.names)}
        return {**by_name, **{value: i for i, value in enumerate(self.values)}}

    def sentence(self) -> str:
        """The choice in words."""
        pairs = ", ".join(f"{i}={name}" for i, name in enumerate(self.names[:10]))
        more = f" and {len(self.names) - 10} more" if len(self.names) > 10 else ""
        return f"labels: {pairs}{more} ({self.origin})"


def find_labels(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The classes of `column`: the task's, the user's (`ordered`), the data set's own, or the values, sorted.

    Whole numbers are sorted as numbers (0- or 1-based), false before true, anything else by the alphabet.
    Raises DataError for one class only, numbers that are no classes, or more classes than any task has.
    """
    counts = Counter(label for row in table.rows if (label := label_text(row.get(column))) is not None)
    if not counts:
        raise DataError(f"{table.path} has no label in column '{column}'", "Choose the column with --label")
    if table.label_names.get(column):
        names = table.label_names[column]
        labels = Labels(tuple(str(i) for i in range(len(names))), names, "as the data set names them")
    elif known and set(counts) <= {word for pair in known for word in pair}:
        labels = Labels(tuple(v for v, _ in known), tuple(n for _, n in known), "as the task names them")
    elif ordered:
        labels = Labels(tuple(ordered), tuple(ordered), "in the order given")
    else:
        labels = _sorted_labels(counts, table, column)
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
                value = text_of(value) if not isinstance(value, (list, dict)) else None
            if value is None or not value.strip("\ufeff \t\r\n\u00a0\u200b"):
                return {}, f"no text in column '{mapping[role]}'"
            # a lone surrogate (half a character, from "\ud83d" in JSON) cannot be encoded by any tokenizer
            made[role] = value.encode("utf-8", errors="replace").decode("utf-8").lstrip("\ufeff")
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
    if not usable or len(rejected) > MAX_REJECTED * total:
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
    import random

    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"limit-{seed}").sample(range(count), limit))


def cut_validation(train: Prepared, share: float, seed: int) -> tuple[Prepared, Prepared]:
    """Cut a validation split off train: seeded, the same share of each label, at least one row where there are two."""
    import random

    rng = random.Random(f"validation-{seed}")
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(train.rows):
        groups.setdefault(row.get("label"), []).append(i)
    cut: set[int] = set()
    for key in sorted(groups, key=str):
        group = groups[key]
        count = max(1, round(share * len(group))) if len(group) > 1 else 0
        cut.update(rng.sample(group, count))
    if not cut:
        raise DataError(f"{train.path} has too few rows to cut a validation split off", "Name one with --validation")
    rest = train.keep(i for i in range(len(train.rows)) if i not in cut)
    validation = train.keep(sorted(cut))
    return rest, Prepared("validation", train.path, validation.rows, validation.numbers, [])


@dataclass(frozen=True)
class Quality:
    """What is suspicious in the rows: counts, and the sentences for the user."""

    duplicates: int
    conflicts: int
    leaked: int
    validation_rows: int

    def sentences(self) -> list[str]:
        """One sentence for each count that is not zero."""
        said = []
        if self.duplicates:
            said.append(f"{self.duplicates} rows of train are there more than once")
        if self.conflicts:
            said.append(f"{self.conflicts} texts of train have more than one label")
        if self.leaked:
            share = 100 * self.leaked / self.validation_rows
            said.append(
                f"{self.leaked} of {self.validation_rows} validation rows are in train ({share:.1f} %): the metrics flatter"
            )
        return said


def _key(row: Row) -> tuple[str, str]:
    return (" ".join(row["text"].casefold().split()), " ".join(str(row.get("text_pair", "")).casefold().split()))


def check_quality(train: Prepared, validation: Prepared, *, allow_leak: bool) -> Quality:
    """Count duplicates, conflicting labels and leaks. Raises DataError when over 5 % of validation leaked from train."""
    seen: dict[tuple[str, str], set[Any]] = {}
    for row in train.rows:
        seen.setdefault(_key(row), set()).add(row.get("label"))
    conflicts = sum(len(labels) > 1 for labels in seen.values())
    at = [i for i, row in enumerate(validation.rows) if _key(row) in seen]
    quality = Quality(len(train.rows) - len(seen), conflicts, len(at), len(validation.rows))
    if len(at) > MAX_LEAKED * len(validation.rows) and not allow_leak:
        rows = ", ".join(str(validation.numbers[i]) for i in at[:5])
        raise DataError(
            f"{len(at)} of {len(validation.rows)} validation rows are in train as well (lines {rows} of {validation.path})",
            "Mend the split, or train all the same with --allow-leak",
        )
    return quality
