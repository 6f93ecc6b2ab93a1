"""The label encoder of a data set: its classes, tags or numeric range, their names and their order."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from hftool.data.column_contents import MIN_TYPE_SHARE, cell_of, infer_content
from hftool.data.label_cells import (
    MAX_LABELS,
    find_joined,
    fold,
    free_separator,
    is_mark,
    label_set,
    label_text,
    likely_separator,
    list_of,
    listed_labels,
    merge_spellings,
    without_marks,
)
from hftool.data.readers.tables import Table, cell_text
from hftool.data.schema import excerpt, is_decimal_number, number_value, parse_literal, tags_value
from hftool.data.tag_ids import TagCounts, outside_notes, tag_notes
from hftool.data.tag_schemes import OUTSIDE, scheme_of
from hftool.errors import DataError, UsageError, listing
from hftool.registry.tasks import Task

MIN_IDENTIFIERS = 3  # with fewer names it may be chance that all look like identifiers
IDENTIFIER = re.compile(r"[A-Za-z]+[-_]?[0-9]{3,}|[0-9]{5,}|(?=[a-f-]*[0-9])[0-9a-f]{8,}(-[0-9a-f]{4,}){0,4}")


def tag_texts(cell: Any) -> tuple[list[str] | None, str]:
    """A cell of tags -> (each as it is compared, ""), or (None, reason)."""
    tags, reason = tags_value(cell)
    return (None, reason) if tags is None else ([label_text(tag) or tag for tag in tags], "")


@dataclass(frozen=True)
class Labels:
    """The classes of a task in id order, or the range of its numeric labels."""

    values: tuple[str, ...]  # as in the data
    names: tuple[str, ...]  # as in predictions
    origin: str  # of names and order, for a notice
    range: tuple[float, ...] = ()  # least and largest number of a regression
    notes: tuple[str, ...] = ()  # a notice on each unusual property
    several: bool = False  # whether a row has any number of them
    separator: str = ""  # what stands between the labels of such a row in a text

    def index(self) -> dict[str, int]:
        """Value or name -> id. A value wins over the same name of another class."""
        labels = [*enumerate(self.names), *enumerate(self.values)]
        return {label_text(label) or label: i for i, label in labels}

    def folded(self) -> dict[str, int]:
        """Folded value or name -> id, without those that two classes share."""
        found: dict[str, set[int]] = {}
        for label, i in self.index().items():
            found.setdefault(fold(label), set()).add(i)
        return {label: ids.pop() for label, ids in found.items() if len(ids) == 1}

    def unknown(self, labels: Iterable[str]) -> list[str]:
        """Those of `labels` that are none of these in any spelling."""
        index, folded = self.index(), self.folded()
        return sorted(label for label in labels if label not in index and fold(label) not in folded)

    def sentence(self) -> str:
        """The labels for a notice."""
        if self.range:
            return f"labels: numbers from {self.range[0]:g} to {self.range[1]:g} ({self.origin})"
        pairs = ", ".join(f"{i}={name}" for i, name in enumerate(self.names[:10]))
        more = f" and {len(self.names) - 10} more" if len(self.names) > 10 else ""
        odd = "; they look like identifiers: is that the column of classes?" if are_identifiers(self.names) else ""
        many = "; a row has any number of them" if self.several else ""
        return f"labels: {pairs}{more} ({self.origin}{many}{odd})"


NO_LABELS = Labels((), (), "")


def are_identifiers(names: Sequence[str]) -> bool:
    """Whether class names look like database keys: user_1024, 7f3a9c1e, 100482."""
    return len(names) >= MIN_IDENTIFIERS and sum(IDENTIFIER.fullmatch(name) is not None for name in names) >= 0.9 * len(names)


def find_labels(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The classes of a column: as the data set or the task names them, else its values.

    Values are sorted: whole numbers by number, anything else alphabetically. `known` are the (value, name) pairs of the task,
    `ordered` the user's classes, which set the order.

    Raises:
        DataError: Fewer than two classes, more than any task has, numbers that are not classes, several classes in a cell,
            or classes that `ordered` lacks.
        UsageError: `ordered` repeats a class.
    """
    counts = _count_labels(table, column)
    labels = _named_by_source(table, column)
    if not labels.names and not (task := _named_by_task(known)).unknown(label for label in counts if not is_mark(label)):
        labels = task
    listed = {label_text(label) or label for label in ordered} | labels.index().keys()
    counts = without_marks(counts, listed)
    if not counts:
        raise DataError(f"{table.path} has no label in column '{column}'", "Choose the column with --label")
    if not listed:
        joined = find_joined(counts)
        if joined:
            indices = [i for i, row in enumerate(table.rows) if label_text(cell_of(row, column)) in joined]
            separators = " and ".join(f"'{separator}'" for separator in dict.fromkeys(joined.values()))
            raise _several_labels(table, column, indices, f"joined by {separators}", next(iter(joined.values())))
        labels = _sorted_labels(merge_spellings(counts), table, column)
        labels = replace(labels, notes=_joined_notes(counts, column))
    if ordered:
        labels = _in_order(labels, ordered, set(counts))
    _check_listed(table, counts, labels)
    index, folded = labels.index(), labels.folded()
    if len({index.get(label, folded.get(fold(label))) for label in counts}) < 2:
        what = f"{table.path} has only one class in column '{column}': '{next(iter(counts))}'"
        raise DataError(what, "A classifier needs two; choose the column with --label")
    return labels


def _joined_notes(labels: Iterable[str], column: str) -> tuple[str, ...]:
    """The notice on classes that look like several labels in one cell."""
    separator = likely_separator(labels)
    what = f"classes of column '{column}' look like several labels joined by '{separator}'"
    return (f"{what}: --labels-sep '{separator}' reads them so",) if separator else ()


def holds_lists(table: Table, column: str) -> bool:
    """Whether a column has cells that are lists of names or whole numbers, by their type."""
    cells = [items for row in table.rows if (items := list_of(cell_of(row, column))) is not None]
    return bool(cells) and all(isinstance(item, (str, int)) for items in cells for item in items)


def check_separator(table: Table, column: str, separator: str) -> None:
    """Raise DataError unless a text in the column has the separator."""
    if not any(isinstance(cell := cell_of(row, column), str) and separator in cell for row in table.rows):
        what = f"no cell of column '{column}' of {table.path} holds the separator '{separator}'"
        raise DataError(what, "Correct --labels-sep, or choose the column with --label")


def find_label_sets(
    table: Table, column: str, *, separator: str = "", known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()
) -> Labels:
    """The labels of a column whose cells have any number of them: as the data set or the task names them, else sorted.

    The labels of a column from `join_label_columns` are the names of its columns. `separator` stands between the labels of a
    text; the other arguments are those of `find_labels`.

    Raises:
        DataError: Fewer than two labels, more than any task has, or some that `ordered` lacks; no cell has the separator.
        UsageError: `ordered` repeats a label.
    """
    if separator:
        check_separator(table, column, separator)
    counts = Counter(label for row in table.rows for label in label_set(cell_of(row, column), separator))
    columns = [label_text(name) or name for name in column.split(",")]
    if len(columns) > 1 and set(counts) <= set(columns):  # a label without a row is one all the same
        counts.update(dict.fromkeys(columns, 0))
    labels = _named_by_source(table, column)
    if not labels.names and not (task := _named_by_task(known)).unknown(label for label in counts if not is_mark(label)):
        labels = task
    counts = without_marks(counts, {label_text(label) or label for label in ordered} | labels.index().keys())
    if not labels.names and not ordered:
        labels = _sorted_labels(merge_spellings(counts), table, column)
    if ordered:
        labels = _in_order(labels, ordered, set(counts))
    _check_listed(table, counts, labels)
    if len(labels.names) < 2:
        found = f"only one label in column '{column}': {listing(labels.names)}" if labels.names else f"no label in '{column}'"
        raise DataError(f"{table.path} has {found}", "Choose the column with --label")
    return replace(labels, several=True, separator=separator or free_separator(labels.names))


def _count_labels(table: Table, column: str) -> Counter[str]:
    """Label -> rows. Raises DataError for cells with no class, or several."""
    cells = [cell_of(row, column) for row in table.rows]
    if set(map(type, cells)) == {str} and all(parse_literal(cell) is None for cell in set(cells)):  # nearly every file
        return _counts(cells)
    several = [index for index, cell in enumerate(cells) if listed_labels(cell)]
    nested = [cell for cell in cells if isinstance(cell, (list, tuple, dict, bytes))]
    if nested and infer_content(nested).kind == "spans":
        hint = "A tagger learns from two columns, tokens and tags; choose the column of classes with --label"
        raise DataError(f"column '{column}' of {table.path} holds spans in a text, not classes", hint)
    filled = [cell for cell in cells if not isinstance(cell, str) or cell.strip()]
    literals = [cell for cell in filled if isinstance(cell, str) and isinstance(parse_literal(cell), list)]
    if several:
        raise _several_labels(table, column, several, "in a list")
    if nested or (literals and len(literals) >= len(filled) / 2):
        raise DataError(
            f"column '{column}' of {table.path} holds lists or bytes, not classes",
            f"Choose the column with --label; {excerpt(str((nested or literals)[0]))} would be several labels for one row",
        )
    return Counter(label for cell in cells if (label := label_text(cell)) is not None)


def _counts(cells: Sequence[Any]) -> Counter[str]:
    """Label -> rows, in order of first occurrence; a text that occurs again is not read again."""
    found: Counter[str] = Counter()
    for cell, count in Counter(cells).items() if set(map(type, cells)) == {str} else zip(cells, repeat(1)):
        if (label := label_text(cell)) is not None:
            found[label] += count
    return found


def _named_by_source(table: Table, column: str) -> Labels:
    """The labels as the data set names them, else none."""
    names = table.label_names.get(column, ())
    return Labels(tuple(map(str, range(len(names)))), tuple(names), "as the data set names them") if names else NO_LABELS


def _named_by_task(known: Sequence[tuple[str, str]]) -> Labels:
    return Labels(tuple(value for value, _ in known), tuple(name for _, name in known), "as the task names them")


def _several_labels(table: Table, column: str, indices: Sequence[int], how: str, separator: str = "") -> DataError:
    first = cell_text(cell_of(table.rows[indices[0]], column)) or ""
    flag = f"read several labels a row with --labels-sep '{separator}', " if separator else ""
    return DataError(
        f"{len(indices)} of {len(table.rows)} rows of {table.path} have several classes in column '{column}', {how}; "
        f"the first is line {table.numbers[indices[0]]}: {first[:80]}",
        f"A classifier has one class a row: {flag}leave these rows out, or list the combinations as classes with "
        "--set labels=A,B,C",
    )


def _check_listed(table: Table, found: Iterable[str], labels: Labels) -> None:
    unknown = labels.unknown(found)
    if unknown:
        what = f"{table.path} has labels that are not in the list: {listing(unknown)}; the list has {listing(labels.names)}"
        raise DataError(what, "Correct --set labels=A,B,C")


def _in_order(labels: Labels, ordered: Sequence[str], found: set[str]) -> Labels:
    """The labels in the user's order. A list of other names replaces them, or names the numbers from 0 in the data."""
    twice = [name for name, count in Counter(ordered).items() if count > 1]
    if twice:
        raise UsageError(f"labels names '{twice[0]}' more than once", "Correct --set labels=A,B,C")
    origin = "in the order given"
    numbers = tuple(map(str, range(len(ordered))))
    if found and found <= set(numbers) and not labels.names and not found & set(ordered):
        return Labels(numbers, tuple(ordered), "as given, for the numbers in the data")
    for names in (labels.names, labels.values):
        if set(names) == set(ordered):
            order = [names.index(name) for name in ordered]
            return Labels(tuple(labels.values[i] for i in order), tuple(labels.names[i] for i in order), origin)
    return Labels(tuple(ordered), tuple(ordered), origin)


def _sorted_labels(counts: Counter[str], table: Table, column: str) -> Labels:
    values = sorted(counts)
    try:
        values.sort(key=int)
        origin = "sorted as numbers; --set labels=A,B sets the order"
    except ValueError:
        origin = "sorted by the alphabet; --set labels=A,B sets the order"
        if all(number_value(value)[0] is not None for value in values):
            what = f"column '{column}' of {table.path} holds numbers such as {values[0]}, not classes"
            raise DataError(what, "Choose the column of classes with --label") from None
    if len(values) > MAX_LABELS or (len(values) > 20 and len(values) > 0.5 * counts.total()):
        what = f"column '{column}' of {table.path} has {len(values)} different values in {counts.total()} rows"
        numeric = sum(map(is_decimal_number, values)) >= MIN_TYPE_SHARE * len(values)
        plain = "If they are continuous labels (regression), use plain numbers: 12.5, without a currency or a percent sign"
        raise DataError(f"{what}: too many for classes", plain if numeric else "Choose the column of classes with --label")
    return Labels(tuple(values), tuple(values), origin)


def are_numbers(table: Table, column: str) -> bool:
    """Whether a column holds continuous labels: nearly all are numbers (an "n/a" is rejected), and one of them is not whole."""
    texts = _counts([cell_of(row, column) for row in table.rows])
    values = {text: value for text in texts if (value := number_value(text)[0]) is not None}
    numbers = sum(texts[text] for text in values)
    marks = sum(count for text, count in texts.items() if text not in values and is_mark(text))
    mostly = marks < numbers and numbers >= MIN_TYPE_SHARE * (texts.total() - marks)
    return mostly and not all(value.is_integer() for value in values.values())


def find_range(table: Table, column: str) -> Labels:
    """The least and the largest number of a column. Raises DataError if there are no two."""
    values = [value for row in table.rows if (value := number_value(cell_of(row, column))[0]) is not None]
    if len(set(values)) < 2:
        raise DataError(f"{table.path} has no two different numbers in column '{column}'", "Choose the column with --label")
    return Labels(("score",), ("score",), "the model will answer a number", (min(values), max(values)))


def find_tags(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The tags of a column of lists: as the data set or the task names them, else those that occur.

    Those that occur are sorted: whole numbers by number; else O first, then by type, B- before I-. Each B- gets an I-, since a
    longer entity may come; spelling variants of a tag are one. Arguments are those of `find_labels`.

    Raises:
        DataError: One tag only, more than any task has, none that marks an entity, or one that `ordered` lacks.
    """
    seen = TagCounts(table.path)
    for row, number in zip(table.rows, table.numbers, strict=True):
        seen.add(tag_texts(cell_of(row, column))[0] or (), number)
    labels = _named_by_source(table, column)
    names = [name for pair in known for name in pair]
    if not labels.names and known and _respelled(seen, names) <= set(names):
        labels = _named_by_task(known)
    if ordered:
        found = _respelled(seen, ordered)
        labels = _in_order(labels, ordered, found)
        _check_listed(table, found, labels)
    return replace(labels, notes=outside_notes(labels.names)) if labels.names else _sorted_tags(seen, table, column)


def _respelled(seen: TagCounts, names: Sequence[str]) -> set[str]:
    """The tags that occur, each as the variant that is in `names`. If all are numbers, 0 is not O."""
    if all(tag.isdecimal() for tag in seen.counts):
        return set(seen.counts)
    scheme = scheme_of(tuple(names))
    return {tag if tag in names or (other := scheme.canonical(tag)) not in names else other for tag in seen.counts}


def _sorted_tags(seen: TagCounts, table: Table, column: str) -> Labels:
    if not seen.counts:
        raise DataError(f"{table.path} has no tags in column '{column}'", "Choose the column with --column tags=NAME")
    scheme = seen.scheme()
    found = {scheme.canonical(tag) for tag in seen.counts}
    found |= {scheme.inside(tag) for tag in found if scheme.has_mark(tag) and scheme.read(tag)[0] == "B"}
    try:
        names = tuple(sorted(found, key=int))
    except ValueError:
        names = tuple(sorted(found, key=lambda tag: (tag != scheme.outside, scheme.read(tag)[1], tag)))
    if len(names) < 2:
        raise DataError(f"{table.path} has only one tag in column '{column}': {listing(seen.counts)}", "A tagger needs two")
    if len(names) > MAX_LABELS:
        what = f"column '{column}' of {table.path} has {len(names)} different tags"
        raise DataError(what, "Choose another --column tags=NAME")
    if all(scheme.read(name)[0] == OUTSIDE for name in names):
        what = f"no tag in column '{column}' of {table.path} marks an entity: {listing(names)}"
        raise DataError(what, "A tagger needs tags such as B-PER or PER besides O")
    return Labels(names, names, "as they occur; --set labels=A,B sets the order", notes=tag_notes(seen, scheme))


def own_names(table: Table, column: str, row: Task | None) -> dict[str, str]:
    """Value -> name as the task or the data set names its classes; {} if neither does."""
    return dict(row.labels) if row is not None else {str(i): name for i, name in enumerate(table.label_names.get(column, ()))}
