"""Builds the splits of a task from its tables: maps columns, encodes labels, checks rows, splits validation off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hftool.data.column_contents import cell_of, contents_of
from hftool.data.column_names import is_named
from hftool.data.columns import has_column, map_columns, missing_column
from hftool.data.decimal_commas import parse_decimal_commas
from hftool.data.label_cells import is_mark, label_text
from hftool.data.labels import (
    NO_LABELS,
    Labels,
    are_numbers,
    find_label_sets,
    find_labels,
    find_range,
    find_tags,
    holds_lists,
)
from hftool.data.passages import merge_lines
from hftool.data.quality import Quality, check_quality, split_validation
from hftool.data.readers.tables import Table
from hftool.data.rows import MAX_REJECTED, SplitRows, map_rows, sample_indices
from hftool.data.schema import RowSchema
from hftool.data.unspaced_scripts import are_words
from hftool.data.unused_columns import check_prompt, unused_columns_sentence
from hftool.errors import DataError
from hftool.machine import collection_paused

KEEP_APART = "; --set labels=A,B keeps spellings apart"


@dataclass(frozen=True)
class Splits:
    """The splits of a run, with its columns (role -> column), labels (NO_LABELS if there are none) and notices."""

    train: SplitRows
    validation: SplitRows
    test: SplitRows | None
    columns: Mapping[str, str]
    labels: Labels
    quality: Quality
    notices: tuple[str, ...]

    def parts(self) -> dict[str, SplitRows]:
        """The splits that there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}

    def get(self, split: str) -> SplitRows:
        """The split of this name. Raises DataError if the task has none."""
        found = self.parts().get(split)
        if found is None:
            raise DataError(f"there is no {split} split with labels", "Name a file, or choose another --split")
        return found


@dataclass(frozen=True)
class SplitOptions:
    """The options of `build_splits` from the head, the task, the user and the config."""

    row_schemas: Sequence[RowSchema]  # accepted by the head, in order of preference
    columns: Mapping[str, str]  # role -> column from the user
    known_columns: Mapping[str, str]  # role -> column from the task
    known_labels: Sequence[tuple[str, str]]  # (value, name) of each class of the task
    ordered_labels: Sequence[str]  # the user's classes
    limit: int | None  # most rows of each split
    seed: int
    validation_share: float  # of train, if there is no validation split
    allow_leak: bool  # whether leakage is reported only
    numbers: bool | None = None  # whether labels are continuous (regression); None infers it
    labels: Labels | None = None  # of a trained model
    max_rejected: float = MAX_REJECTED
    labels_sep: str = ""  # what stands between several labels in a cell

    @property
    def may_be_numbers(self) -> bool:
        """Whether labels can be continuous: nothing names classes."""
        if self.labels is not None:
            return bool(self.labels.range)
        return bool(self.numbers) or not (self.known_labels or self.ordered_labels or self.labels_sep)


@collection_paused()
def build_splits(tables: Mapping[str, Table], options: SplitOptions) -> Splits:
    """Build the splits from split -> table, deterministically; labels come from train alone.

    Raises:
        DataError: A split cannot be used, has labels that train lacks, or leaks.
        UsageError: The user's columns or labels do not fit.
    """
    notices: list[str] = []
    table = tables["train"]
    schema, mapping = _columns_of_train(table, options, notices)
    if "label" in mapping and options.may_be_numbers:
        table, note = parse_decimal_commas(table, mapping["label"])
        tables = {**tables, "train": table}
        notices += [note] if note else []
        options = replace(options, numbers=True) if note else options
    labels = options.labels or name_labels(tables["train"], mapping, options)
    if labels.names:
        notices += [labels.sentence(), *labels.notes]
    if not schema.targets:
        tables = {split: merge_lines(table) for split, table in tables.items()}
    train = map_rows(tables["train"], mapping, labels, max_rejected=options.max_rejected)
    if are_words(row["tokens"] for row in train.rows if "tokens" in row):
        notices.append("tokens: words of a script without spaces; a text to be tagged needs spaces between its words, too")
    validation = test = None
    if "validation" in tables:
        validation = _with_targets(tables["validation"], schema, mapping, labels, options, notices)
    if validation is None:
        train, validation = split_validation(train, options.validation_share, options.seed)
        one = "label" in mapping and not labels.range and not labels.several
        how = " (same share of each label, seed {})" if one else " (seed {})"
        notices.append(f"validation: {len(validation.rows)} rows held out from train" + how.format(options.seed))
    if "test" in tables:
        test = _with_targets(tables["test"], schema, mapping, labels, options, notices)
        test = _limited(test, options) if test else None
    train, validation = _limited(train, options), _limited(validation, options)
    if "label" in mapping and not labels.range and len({row["label"] for row in train.rows}) < 2:
        what = "all have the same labels" if labels.several else "have only one class"
        raise DataError(f"the train rows of {train.path} that are left {what}", "Raise --limit")
    for part in (train, validation, test):
        notices += part.sentences(hint=KEEP_APART) if part else []
    quality = check_quality(train, validation, allow_leak=options.allow_leak)
    train.keys = validation.keys = None
    return Splits(train, validation, test, mapping, labels, quality, (*notices, *quality.sentences()))


def name_labels(table: Table, mapping: Mapping[str, str], options: SplitOptions) -> Labels:
    """The labels, the tags or the numeric range of train; NO_LABELS if it has none."""
    known, ordered = options.known_labels, options.ordered_labels
    if "tags" in mapping:
        return find_tags(table, mapping["tags"], known=known, ordered=ordered)
    if "label" not in mapping:
        return NO_LABELS
    column, numbers = mapping["label"], options.numbers
    lists = holds_lists(table, column)
    if (options.labels_sep or lists) and not numbers:
        return find_label_sets(table, column, separator=options.labels_sep, known=known, ordered=ordered)
    if lists:
        raise DataError(f"column '{column}' of {table.path} holds lists, not numbers", "Choose the column with --label")
    if numbers is None:
        numbers = not known and not ordered and are_numbers(table, column)
    return find_range(table, column) if numbers else find_labels(table, column, known=known, ordered=ordered)


def _columns_of_train(table: Table, options: SplitOptions, notices: list[str]) -> tuple[RowSchema, dict[str, str]]:
    contents = contents_of(table)
    given, known = options.columns, options.known_columns
    schema, mapping = map_columns(
        table.columns, options.row_schemas, given=given, known=known, path=table.path, contents=contents
    )
    check_prompt(table.path, table.columns, mapping, {**known, **given}, contents)
    notices.append(mapping_sentence(mapping))
    notices.extend(filter(None, [unused_columns_sentence(table.columns, mapping, contents)]))
    return schema, mapping


def mapping_sentence(mapping: Mapping[str, str], *, of: str = "") -> str:
    """The notice on a mapping; `of` is the split or file if it is not the first."""
    return f"columns{of and ' of '}{of}: " + ", ".join(f"{role}='{column}'" for role, column in mapping.items())


def map_again(
    table: Table, schema: RowSchema, mapping: Mapping[str, str], given: Mapping[str, str], *, targets: bool = True
) -> dict[str, str]:
    """The mapping of another table of the same task: that of train (`schema`, `mapping`), else anew, targets by name only.

    Raises:
        DataError: A role has no column.
    """
    wanted = [role for role in mapping if targets or role not in schema.targets]
    if all(has_column(table.columns, mapping[role]) for role in wanted):
        return {role: mapping[role] for role in wanted}
    inputs = tuple(role for role in wanted if role not in schema.targets)
    schema = replace(schema, inputs=inputs, targets=schema.targets if targets else (), optional=())
    given = {role: column for role, column in given.items() if role in wanted and has_column(table.columns, column)}
    contents = contents_of(table)
    _, found = map_columns(
        table.columns, [schema], given=given, known=mapping, path=table.path, for_inference=not targets, contents=contents
    )
    for role in schema.targets:
        if found[role] != mapping[role] and not is_named(found[role], role):
            raise missing_column(table.path, table.columns, mapping[role], role, contents=contents)
    return {role: found[role] for role in wanted}


def _with_targets(
    table: Table, schema: RowSchema, mapping: Mapping[str, str], labels: Labels, options: SplitOptions, notices: list[str]
) -> SplitRows | None:
    """The rows of a split, or None if they have no targets, as the test splits of GLUE."""
    own = None
    try:
        own = map_again(table, schema, mapping, options.columns)
    except DataError:
        if table.split == "validation":
            raise
        map_again(table, schema, mapping, options.columns, targets=False)
    if own is not None and own != mapping:
        notices.append(mapping_sentence(own, of=table.split))
    if own is not None and all(has_targets(table, own[role]) for role in schema.targets):
        table, note = parse_decimal_commas(table, own["label"]) if labels.range else (table, "")
        notices += [note] if note else []
        return map_rows(table, own, labels, max_rejected=options.max_rejected)
    notices.append(f"{table.split}: {table.path} has no labels and is left out")
    return None


def has_targets(table: Table, column: str | None) -> bool:
    """Whether any row has a target: labels may be missing or, as in GLUE, all -1, and lists of tags or answers empty."""
    if column is None or not has_column(table.columns, column):
        return False
    return any(_is_target(cell_of(row, column)) for row in table.rows)


def _is_target(cell: Any) -> bool:
    if isinstance(cell, Mapping):  # answers with their offsets
        return cell.get("is_impossible") is True or _is_target(cell.get("text"))
    if isinstance(cell, (list, tuple)):
        return any(map(_is_target, cell))
    text = label_text(cell)
    return text is not None and text != "[]" and not is_mark(text)


def _limited(split: SplitRows, options: SplitOptions) -> SplitRows:
    return split.keep(sample_indices(len(split.rows), options.limit, options.seed))
