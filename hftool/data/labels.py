"""What the labels of a data set are called and in which order: classes, tags of tokens, or numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hftool.data.column_contents import cell_of, infer_content
from hftool.data.label_cells import find_joined, fold, is_mark, listed_labels, merge_spellings, without_marks
from hftool.data.readers.tables import Table, cell_text, replace_surrogates
from hftool.data.schema import excerpt, is_decimal_number, number_value, parse_literal, tags_value
from hftool.data.tag_ids import TagCounts, outside_notes, tag_notes
from hftool.data.tag_schemes import OUTSIDE, scheme_of
from hftool.errors import DataError, UsageError, listing
from hftool.registry.tasks import Task

WHOLE_NUMBER = re.compile(r"^(-?[0-9]+)\.0+$")  # pandas writes 1.0 where a cell of the column is empty
MAX_LABELS = 1000
LEAST_IDENTIFIERS = 3  # names from which on it is no accident that all look alike
IDENTIFIER = re.compile(r"[A-Za-z]+[-_]?[0-9]{3,}|[0-9]{5,}|(?=[a-f-]*[0-9])[0-9a-f]{8,}(-[0-9a-f]{4,}){0,4}")
MOSTLY = 0.95  # share of the labels that are numbers, from which on the others are mistakes


def label_text(value: Any) -> str | None:
    """A label's value as it is compared: stripped, 1 and 1.0 and "1" and "1.0" alike. None when there is none."""
    text = cell_text(value)
    if text is None:
        return None
    text = replace_surrogates(text.strip(" \t\r\n\ufeff\u00a0"))
    return WHOLE_NUMBER.sub(r"\1", text) or None


def tag_texts(cell: Any) -> tuple[list[str] | None, str]:
    """A cell of tags -> (each as it is compared, ""), or (None, reason)."""
    tags, reason = tags_value(cell)
    return (None, reason) if tags is None else ([label_text(tag) or tag for tag in tags], "")


@dataclass(frozen=True)
class Labels:
    """The classes of a task: `values` as they stand in the data, `names` as they stand in every answer, in id order. notes:
    what of them is unusual, a sentence each."""

    values: tuple[str, ...]
    names: tuple[str, ...]
    origin: str
    range: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def index(self) -> dict[str, int]:
        """Value or name -> id. Where a value of one class is the name of another, the value wins."""
        words = [*enumerate(self.names), *enumerate(self.values)]
        return {label_text(word) or word: i for i, word in words}

    def folded(self) -> dict[str, int]:
        """Value or name, case and blanks aside -> id; without those that two classes share."""
        found: dict[str, set[int]] = {}
        for word, i in self.index().items():
            found.setdefault(fold(word), set()).add(i)
        return {word: ids.pop() for word, ids in found.items() if len(ids) == 1}

    def lacks(self, words: Iterable[str]) -> list[str]:
        """The words that are no label in any spelling."""
        index, folded = self.index(), self.folded()
        return sorted(word for word in words if word not in index and fold(word) not in folded)

    def sentence(self) -> str:
        """The choice in words."""
        if self.range:
            return f"labels: numbers from {self.range[0]:g} to {self.range[1]:g} ({self.origin})"
        pairs = ", ".join(f"{i}={name}" for i, name in enumerate(self.names[:10]))
        more = f" and {len(self.names) - 10} more" if len(self.names) > 10 else ""
        odd = "; they look like identifiers: is that the column of classes?" if are_identifiers(self.names) else ""
        return f"labels: {pairs}{more} ({self.origin}{odd})"


def are_identifiers(names: Sequence[str]) -> bool:
    """Whether the names of classes look like keys of a data base: user_1024, 7f3a9c1e, 100482."""
    return len(names) >= LEAST_IDENTIFIERS and sum(IDENTIFIER.fullmatch(name) is not None for name in names) >= 0.9 * len(names)


def find_labels(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The classes of `column`: as the data set or the task names them, or the values, sorted. `ordered` sets their order.

    Whole numbers are sorted as numbers (0- or 1-based), false before true, anything else by the alphabet.
    Raises DataError for one class only, numbers that are no classes, or more classes than any task has.
    """
    counts = _count_labels(table, column)
    labels = _named_labels(table.label_names.get(column), known, counts)
    listed = {label_text(word) or word for word in ordered} | labels.index().keys()
    counts = without_marks(counts, listed)
    if not counts:
        raise DataError(f"{table.path} has no label in column '{column}'", "Choose the column with --label")
    if not listed:
        _check_joined(table, column, counts)
        labels = _sorted_labels(merge_spellings(counts), table, column)
    if ordered:
        labels = _in_order(labels, ordered, set(counts))
    _check_listed(table, counts, labels)
    index, folded = labels.index(), labels.folded()
    if len({index.get(label, folded.get(fold(label))) for label in counts}) < 2:
        raise DataError(
            f"{table.path} has only one class in column '{column}': '{next(iter(counts))}'",
            "A classifier needs two; choose the column with --label",
        )
    return labels


def _count_labels(table: Table, column: str) -> Counter[str]:
    """Label -> rows. Raises DataError for cells that hold no label, or several."""
    cells = [cell_of(row, column) for row in table.rows]
    several = [place for place, cell in enumerate(cells) if listed_labels(cell)]
    nested = [cell for cell in cells if isinstance(cell, (list, tuple, dict, bytes))]
    if nested and infer_content(nested).kind == "spans":
        hint = "A tagger learns from two columns, tokens and tags; choose the column of classes with --label"
        raise DataError(f"column '{column}' of {table.path} holds places in a text, not classes", hint)
    labels = [cell for cell in cells if not isinstance(cell, str) or cell.strip()]
    written = [cell for cell in labels if isinstance(cell, str) and isinstance(parse_literal(cell), list)]
    if several:
        raise _several_labels(table, column, several, "in a list")
    if nested or (written and len(written) >= len(labels) / 2):
        raise DataError(
            f"column '{column}' of {table.path} holds lists or bytes, not classes",
            f"Choose the column with --label; {excerpt(str((nested or written)[0]))} would be several labels for one row",
        )
    return Counter(label for cell in cells if (label := label_text(cell)) is not None)


def _named_labels(own: Sequence[str] | None, known: Sequence[tuple[str, str]], counts: Iterable[str]) -> Labels:
    """The labels as the data set or the task names them; empty where they do not, or the data has others."""
    if own:
        return Labels(tuple(str(i) for i in range(len(own))), tuple(own), "as the data set names them")
    task = Labels(tuple(v for v, _ in known), tuple(n for _, n in known), "as the task names them")
    return Labels((), (), "") if task.lacks(word for word in counts if not is_mark(word)) else task


def _check_joined(table: Table, column: str, counts: Iterable[str]) -> None:
    joined = find_joined(counts)
    if joined:
        places = [i for i, row in enumerate(table.rows) if label_text(cell_of(row, column)) in joined]
        separators = " and ".join(f"'{separator}'" for separator in dict.fromkeys(joined.values()))
        raise _several_labels(table, column, places, f"joined by {separators}")


def _several_labels(table: Table, column: str, places: Sequence[int], how: str) -> DataError:
    first = cell_text(cell_of(table.rows[places[0]], column)) or ""
    return DataError(
        f"{len(places)} of {len(table.rows)} rows of {table.path} have several classes in column '{column}', {how}; "
        f"the first is line {table.numbers[places[0]]}: {first[:80]}",
        "One class a row is learnt: leave these rows out, or make classes of their own of them with --set labels=A,B,C",
    )


def _check_listed(table: Table, words: Iterable[str], labels: Labels) -> None:
    unknown = labels.lacks(words)
    if unknown:
        raise DataError(
            f"{table.path} has labels that are not in the list: {listing(unknown)}; the list has {listing(labels.names)}",
            "Mend --set labels=A,B,C",
        )


def _in_order(labels: Labels, ordered: Sequence[str], found: set[str]) -> Labels:
    """The labels in the user's order, by name or by value; a list that names others stands alone, or names the numbers from 0
    that were found in the data."""
    twice = [name for name, count in Counter(ordered).items() if count > 1]
    if twice:
        raise UsageError(f"labels names '{twice[0]}' more than once", "Mend --set labels=A,B,C")
    origin = "in the order given"
    numbers = {str(i) for i in range(len(ordered))}
    if found and found <= numbers and not labels.names and not found & set(ordered):
        return Labels(tuple(str(i) for i in range(len(ordered))), tuple(ordered), "as given, for the numbers in the data")
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
        if all(number_value(value)[0] is not None for value in values):
            raise DataError(
                f"column '{column}' of {table.path} holds numbers such as {values[0]}, not classes",
                "Choose the column of classes with --label",
            ) from None
    if len(values) > MAX_LABELS or (len(values) > 20 and len(values) > 0.5 * sum(counts.values())):
        amounts = sum(map(is_decimal_number, values)) >= MOSTLY * len(values)
        plainly = "If they are amounts, write each as a plain number: 12.5, without a currency or a percent sign"
        raise DataError(
            f"column '{column}' of {table.path} has {len(values)} different values in {sum(counts.values())} "
            "rows: that is no class",
            plainly if amounts else "Choose the column of classes with --label",
        )
    return Labels(tuple(values), tuple(values), origin)


def are_numbers(table: Table, column: str) -> bool:
    """Whether the labels of a column are amounts and no classes: as good as all are numbers, and one of these is not whole.

    An "n/a" among a hundred amounts is a row that cannot be used, and does not make a class of each amount.
    """
    texts = Counter(label for row in table.rows if (label := label_text(cell_of(row, column))) is not None)
    values = {text: value for text in texts if (value := number_value(text)[0]) is not None}
    amounts = sum(texts[text] for text in values)
    marks = sum(count for text, count in texts.items() if text not in values and is_mark(text))
    mostly = marks < amounts and amounts >= MOSTLY * (texts.total() - marks)
    return mostly and not all(value.is_integer() for value in values.values())


def find_range(table: Table, column: str) -> Labels:
    """The least and the largest number in a column. Raises DataError when there are no two."""
    values = [value for row in table.rows if (value := number_value(cell_of(row, column))[0]) is not None]
    if len(set(values)) < 2:
        raise DataError(f"{table.path} has no two different numbers in column '{column}'", "Choose the column with --label")
    return Labels(("score",), ("score",), "the model will answer a number", (min(values), max(values)))


def find_tags(table: Table, column: str, *, known: Sequence[tuple[str, str]] = (), ordered: Sequence[str] = ()) -> Labels:
    """The tags of `column`, whose cells are lists: as the data set or the task names them, or those that occur. `ordered` sets
    their order.

    Those that occur: whole numbers as numbers; else O first, then by type, B- before I-, and an I- for each B-, since a longer
    name may come; tags that say the same in other letters are one. Raises DataError for one tag only, more tags than any task
    has, none that marks an entity, or one that `ordered` lacks.
    """
    seen = TagCounts(table.path)
    for row, number in zip(table.rows, table.numbers, strict=True):
        seen.add(tag_texts(cell_of(row, column))[0] or (), number)
    labels = Labels((), (), "")
    if table.label_names.get(column):
        names = table.label_names[column]
        labels = Labels(tuple(str(i) for i in range(len(names))), names, "as the data set names them")
    elif known and _spelled(seen, [word for pair in known for word in pair]) <= {word for pair in known for word in pair}:
        labels = Labels(tuple(v for v, _ in known), tuple(n for _, n in known), "as the task names them")
    if ordered:
        found = _spelled(seen, ordered)
        labels = _in_order(labels, ordered, found)
        _check_listed(table, found, labels)
    return replace(labels, notes=outside_notes(labels.names)) if labels.names else _sorted_tags(seen, table, column)


def _spelled(seen: TagCounts, names: Sequence[str]) -> set[str]:
    """The tags that occur, in the letters of `names` where one of these says the same; where all are numbers, 0 is no O."""
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
        raise DataError(
            f"column '{column}' of {table.path} has {len(names)} different tags", "Choose another --column tags=NAME"
        )
    if all(scheme.read(name)[0] == OUTSIDE for name in names):
        raise DataError(
            f"no tag in column '{column}' of {table.path} marks an entity: {listing(names)}",
            "A tagger needs tags such as B-PER or PER besides O",
        )
    return Labels(names, names, "as they occur; --set labels=A,B sets the order", notes=tag_notes(seen, scheme))


def own_names(table: Table, column: str, row: Task | None) -> dict[str, str]:
    """Value -> name, where the data set or the task names its classes; empty where it does not."""
    if row is not None:
        return dict(row.labels)
    return {str(i): name for i, name in enumerate(table.label_names.get(column, ()))}
