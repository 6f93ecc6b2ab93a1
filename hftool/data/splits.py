"""From the tables of a task to its splits: columns mapped, labels named, rows checked, a validation split cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hftool.data.columns import (
    Labels,
    Prepared,
    find_labels,
    has_labels,
    map_columns,
    missing_column,
    prepare,
    sample_indices,
)
from hftool.data.quality import Quality, check_quality, cut_validation
from hftool.data.sources import Table
from hftool.errors import DataError

WANTED = ("text", "text_pair", "label")
OPTIONAL = ("text_pair",)


@dataclass(frozen=True)
class Splits:
    """What a run trains and is measured on. `said` are the choices that were made, a sentence each."""

    train: Prepared
    validation: Prepared
    test: Prepared | None
    columns: Mapping[str, str]
    labels: Labels
    quality: Quality
    said: tuple[str, ...]

    def get(self, split: str) -> Prepared:
        """The split called so. Raises DataError when the task has none."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}[split]
        if found is None:
            raise DataError(f"there is no {split} split with labels", "Name a file, or choose another --split")
        return found


@dataclass(frozen=True)
class Choices:
    """What the task, the user and the config say about a data set. labels: of a model that is trained already."""

    columns: Mapping[str, str]
    known_columns: Mapping[str, str]
    known_labels: Sequence[tuple[str, str]]
    ordered_labels: Sequence[str]
    limit: int | None
    seed: int
    validation_share: float
    allow_leak: bool
    labels: Labels | None = None


def build_splits(tables: Mapping[str, Table], choices: Choices) -> Splits:
    """Map, name, check, sample and cut. The same tables and choices give the same splits.

    Raises DataError, UsageError. Labels come from train alone: one that only validation has is an error.
    """
    said: list[str] = []
    table = tables["train"]
    mapping = map_columns(
        table.columns, WANTED, given=choices.columns, known=choices.known_columns, path=table.path, optional=OPTIONAL
    )
    said.append("columns: " + ", ".join(f"{role}='{column}'" for role, column in mapping.items()))
    labels = choices.labels or find_labels(table, mapping["label"], known=choices.known_labels, ordered=choices.ordered_labels)
    said.append(labels.sentence())
    train = prepare(table, mapping, labels)
    validation = test = None
    if "validation" in tables:
        validation = _labelled(tables["validation"], mapping, labels, said)
    if validation is None:
        train, validation = cut_validation(train, choices.validation_share, choices.seed)
        said.append(f"validation: {len(validation.rows)} rows cut from train (same share of each label, seed {choices.seed})")
    if "test" in tables and mapping["label"] in tables["test"].columns:
        test = _labelled(tables["test"], mapping, labels, said)
        test = _limited(test, choices) if test else None
    train, validation = _limited(train, choices), _limited(validation, choices)
    if len({row["label"] for row in train.rows}) < 2:
        raise DataError(f"the train rows of {train.path} that are left have only one class", "Raise --limit")
    quality = check_quality(train, validation, allow_leak=choices.allow_leak)
    return Splits(train, validation, test, mapping, labels, quality, (*said, *quality.sentences()))


def _labelled(table: Table, mapping: Mapping[str, str], labels: Labels, said: list[str]) -> Prepared | None:
    """The rows of a split, or None when they have no labels, as the test splits of GLUE."""
    for role, column in mapping.items():
        if column not in table.columns:
            raise missing_column(table.path, table.columns, column, role)
    if has_labels(table, mapping["label"]):
        return prepare(table, mapping, labels)
    said.append(f"{table.split}: {table.path} has no labels and is left out")
    return None


def _limited(split: Prepared, choices: Choices) -> Prepared:
    return split.keep(sample_indices(len(split.rows), choices.limit, choices.seed))
