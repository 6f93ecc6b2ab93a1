"""From the tables of a task to its splits: columns mapped, labels named, rows checked, a validation split cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hftool.data.amounts import plain_amounts
from hftool.data.columns import cell_of, has_column, map_columns, missing_column
from hftool.data.labels import Labels, are_numbers, find_labels, find_range, find_tags, label_text
from hftool.data.passages import merge_lines
from hftool.data.quality import Quality, check_quality, cut_validation
from hftool.data.roles import Shape
from hftool.data.rows import Prepared, prepare, sample_indices
from hftool.data.sources import Table
from hftool.errors import DataError

NO_LABELS = Labels((), (), "")


@dataclass(frozen=True)
class Splits:
    """What a run trains and is measured on. `said` are the choices that were made, a sentence each. labels: empty where
    nothing is labelled."""

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
    """What the head, the task, the user and the config say about a data set.

    shapes: the ways in which rows may come. numbers: whether labels are amounts; None looks at them. labels: of a model that is
    trained already.
    """

    shapes: Sequence[Shape]
    columns: Mapping[str, str]
    known_columns: Mapping[str, str]
    known_labels: Sequence[tuple[str, str]]
    ordered_labels: Sequence[str]
    limit: int | None
    seed: int
    validation_share: float
    allow_leak: bool
    numbers: bool | None = None
    labels: Labels | None = None

    @property
    def may_be_amounts(self) -> bool:
        """Whether labels can be numbers: nothing has named classes."""
        if self.labels is not None:
            return bool(self.labels.range)
        return bool(self.numbers) or not (self.known_labels or self.ordered_labels)


def build_splits(tables: Mapping[str, Table], choices: Choices) -> Splits:
    """Map, name, check, sample and cut. The same tables and choices give the same splits.

    Raises DataError, UsageError. Labels come from train alone: one that only validation has is an error.
    """
    said: list[str] = []
    table = tables["train"]
    shape, mapping = map_columns(
        table.columns, choices.shapes, given=choices.columns, known=choices.known_columns, path=table.path
    )
    said.append("columns: " + ", ".join(f"{role}='{column}'" for role, column in mapping.items()))
    if "label" in mapping and choices.may_be_amounts:
        plain = {split: plain_amounts(table, mapping["label"]) for split, table in tables.items()}
        tables = {split: table for split, (table, _) in plain.items()}
        said += [note for _, note in plain.values() if note]
        choices = replace(choices, numbers=True) if plain["train"][1] else choices
    labels = choices.labels or name_labels(tables["train"], mapping, choices)
    if labels.names:
        said.append(labels.sentence())
    if not shape.targets:
        tables = {split: merge_lines(table) if table.lines else table for split, table in tables.items()}
    train = prepare(tables["train"], mapping, labels)
    validation = test = None
    if "validation" in tables:
        validation = _with_targets(tables["validation"], shape, mapping, labels, said)
    if validation is None:
        train, validation = cut_validation(train, choices.validation_share, choices.seed)
        how = " (same share of each label, seed {})" if "label" in mapping and not labels.range else " (seed {})"
        said.append(f"validation: {len(validation.rows)} rows cut from train" + how.format(choices.seed))
    if "test" in tables and all(has_column(tables["test"].columns, mapping[role]) for role in shape.targets):
        test = _with_targets(tables["test"], shape, mapping, labels, said)
        test = _limited(test, choices) if test else None
    train, validation = _limited(train, choices), _limited(validation, choices)
    if "label" in mapping and not labels.range and len({row["label"] for row in train.rows}) < 2:
        raise DataError(f"the train rows of {train.path} that are left have only one class", "Raise --limit")
    quality = check_quality(train, validation, allow_leak=choices.allow_leak)
    return Splits(train, validation, test, mapping, labels, quality, (*said, *quality.sentences()))


def name_labels(table: Table, mapping: Mapping[str, str], choices: Choices) -> Labels:
    """The labels or tags of train, or the range of its numbers; none where the rows are not labelled."""
    known, ordered = choices.known_labels, choices.ordered_labels
    if "tags" in mapping:
        return find_tags(table, mapping["tags"], known=known, ordered=ordered)
    if "label" not in mapping:
        return NO_LABELS
    numbers = choices.numbers
    if numbers is None:
        numbers = not known and not ordered and are_numbers(table, mapping["label"])
    if numbers:
        return find_range(table, mapping["label"])
    return find_labels(table, mapping["label"], known=known, ordered=ordered)


def _with_targets(table: Table, shape: Shape, mapping: Mapping[str, str], labels: Labels, said: list[str]) -> Prepared | None:
    """The rows of a split, or None when they have no targets, as the test splits of GLUE."""
    for role, column in mapping.items():
        if not has_column(table.columns, column):
            raise missing_column(table.path, table.columns, column, role)
    if all(has_targets(table, mapping[role]) for role in shape.targets):
        return prepare(table, mapping, labels)
    said.append(f"{table.split}: {table.path} has no labels and is left out")
    return None


def has_targets(table: Table, column: str | None) -> bool:
    """False for a test split whose labels are missing or, as in GLUE, all -1, or whose lists of tags or answers are empty."""
    if column is None or not has_column(table.columns, column):
        return False
    return any(_is_target(cell_of(row, column)) for row in table.rows)


def _is_target(cell: Any) -> bool:
    if isinstance(cell, Mapping):  # answers, their starts beside them
        return cell.get("is_impossible") is True or _is_target(cell.get("text"))
    if isinstance(cell, (list, tuple)):
        return any(map(_is_target, cell))
    return label_text(cell) not in (None, "-1", "[]")


def _limited(split: Prepared, choices: Choices) -> Prepared:
    return split.keep(sample_indices(len(split.rows), choices.limit, choices.seed))
