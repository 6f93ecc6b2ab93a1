"""The content type of each column, inferred from a sample of its cells and not from its name."""

import itertools
import random
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hftool.data.label_cells import is_mark
from hftool.data.readers.tables import Row, Table, cell_text
from hftool.data.schema import display_width, is_blank, is_decimal_number, number_value, parse_literal

SAMPLE_ROWS = 2000
MIN_TYPE_SHARE = 0.95  # share of the cells that must be of a type for the column to be of that type
FEW_VALUES = 20  # up to this many distinct values may be classes, however rarely each occurs
MAX_CLASS_WIDTH = 50  # characters of a typical class name
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?$|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([T ,].*)?$|\d{1,2}:\d{2}(:\d{2})?$")
TIMESTAMPS = ((1900, 2100), (9e8, 4e9), (9e11, 4e12))  # years, seconds and milliseconds since 1970
MIN_NUMERIC_ID = 1e6  # distinct whole numbers from here on are identifiers, not counts
ID_COLUMN = re.compile(r"(^|[\W_])(?i:id|idx|index|uuid|guid)\d?$|[a-z]I[dD]$")
OFFSET_KEY = re.compile(r"start|begin|offset")
TARGETS = ("classes", "numbers", "spans", "lists", "scores")
PHRASES = {  # where the kind itself is not the phrase
    "spans": "spans in a text",
    "scores": "a number for each class",
    "empty": "nothing",
    "constant": "one value",
    "text": "texts",
    "words": "names or words",
}


@dataclass(frozen=True)
class Content:
    """The content type of a column."""

    kind: str  # one of TARGETS, a key of PHRASES, "dates", "identifiers" or "objects"
    values: int = 0  # distinct values in the sample
    words: int = 1  # median number of words of a text cell

    @property
    def is_target(self) -> bool:
        """Whether the column could be a training target."""
        return self.kind in TARGETS

    def phrase(self) -> str:
        """The type for a message, such as "3 different values"."""
        return f"{self.values} different values" if self.kind == "classes" else PHRASES.get(self.kind, self.kind)


@dataclass(frozen=True)
class Contents:
    """The content types of the columns of some rows, inferred lazily and cached."""

    rows: Sequence[Row]
    _cache: dict[str, Content] = field(default_factory=dict)

    @cached_property
    def _sample(self) -> Sequence[Row]:
        """A random sample in file order: a file may be sorted by label."""
        count = len(self.rows)
        indices = sorted(random.Random(0).sample(range(count), SAMPLE_ROWS)) if count > SAMPLE_ROWS else range(count)
        return [self.rows[i] for i in indices]

    def of(self, column: str) -> Content:
        """The content type of a column."""
        if column not in self._cache:
            self._cache[column] = infer_content([cell_of(row, column) for row in self._sample], column)
        return self._cache[column]

    def parts(self, column: str) -> tuple[str, ...]:
        """The keys of a column of objects, such as en and de of `translation`."""
        first = next((cell for row in self.rows[:1] if isinstance(cell := row.get(column), Mapping)), {})
        return tuple(map(str, first))


def contents_of(table: Table) -> Contents:
    """The content types of the columns of a table, inferred once for it."""
    if table.contents is None:
        table.contents = Contents(table.rows)
    contents: Contents = table.contents
    return contents


def cell_of(row: Row, column: str) -> Any:
    """The cell of a column, or for a dotted name such as translation.de a key of it; None if there is none."""
    if column in row or "." not in column:
        return row.get(column)
    outer, _, key = column.partition(".")
    cell = row.get(outer)
    return cell.get(key) if isinstance(cell, Mapping) else None


def infer_content(cells: Sequence[Any], name: str = "") -> Content:
    """The content type of some cells; the name of their column distinguishes identifiers from numbers."""
    values = [value for value in map(_value, cells) if value is not None]
    if not values:
        return Content("empty")
    nested = [value for value in values if not isinstance(value, str)]
    if 2 * len(nested) > len(values):
        return _infer_nested(nested)
    texts = [value for value in values if isinstance(value, str)]
    texts = [text for text in texts if not is_mark(text) or number_value(text)[0] is not None] or texts
    counts = Counter(texts)
    if len(counts) == 1 and len(texts) > 2:
        return Content("constant", 1)
    if sum(bool(DATE.match(text)) for text in texts) >= MIN_TYPE_SHARE * len(texts):
        return Content("dates", len(counts))
    numbers = [number for text in texts if (number := number_value(text)[0]) is not None]
    if len(numbers) >= MIN_TYPE_SHARE * len(texts):
        return _infer_numeric(numbers, name)
    if sum(map(is_decimal_number, texts)) >= MIN_TYPE_SHARE * len(texts):
        return Content("numbers", len(counts))
    content = _infer_text(texts, counts)
    is_id = content.kind == "words" and content.words == 1 and ID_COLUMN.search(name)
    return Content("identifiers", content.values) if is_id else content


def _value(cell: Any) -> Any:
    """A cell as a text, a list or an object; None if it is empty."""
    convert = getattr(cell, "tolist", None)
    value = convert() if convert else cell
    if isinstance(value, str):
        parsed = parse_literal(value)
        value = value if parsed is None else parsed
    if isinstance(value, (list, tuple, Mapping, bytes)):
        return value or None
    text = cell_text(value)
    return None if text is None or is_blank(text) else text.strip()


def _infer_nested(values: Sequence[Any]) -> Content:
    items = [item for value in values if isinstance(value, (list, tuple)) for item in value]
    if any(_is_span(item) for item in items):
        return Content("spans")
    if items:
        return Content("objects" if any(isinstance(item, Mapping) for item in items) else "lists")
    parts = [part for value in values if isinstance(value, Mapping) for part in value.values()]
    if parts and all(isinstance(part, (int, float)) and 0 <= part <= 1 for part in parts):
        return Content("scores")
    is_choice = any(isinstance(value, Mapping) and "choices" in value for value in values)
    return Content("lists" if is_choice else "objects")


def _is_span(item: Any) -> bool:
    """Whether an item is a span such as {"start": 0, "end": 3} under any usual keys, or [0, 3, "PER"]."""
    if isinstance(item, Mapping):
        return any(OFFSET_KEY.search(str(key).lower()) for key in item)
    if not isinstance(item, (list, tuple)):
        return False
    return sum(isinstance(part, int) for part in item) >= 2 and any(isinstance(part, str) for part in item)


def _infer_numeric(numbers: Sequence[float], name: str) -> Content:
    values, total = len(set(numbers)), len(numbers)
    if not all(number.is_integer() for number in numbers):
        return Content("numbers", values)
    if any(all(low <= number <= high for number in numbers) for low, high in TIMESTAMPS):
        return Content("dates", values)
    ascending = total > 2 and all(one < two for one, two in itertools.pairwise(numbers))
    named_id = ID_COLUMN.search(name) and values > min(FEW_VALUES, total / 2)
    if ascending or named_id or (values == total and min(numbers) >= MIN_NUMERIC_ID):
        return Content("identifiers", values)
    return Content("classes" if _repeats(values, total) else "numbers", values)


def _infer_text(texts: Sequence[str], counts: Counter[str]) -> Content:
    width = statistics.median(map(display_width, texts))
    words = round(statistics.median(len(text.split()) for text in texts))
    if _repeats(len(counts), len(texts)) and width <= MAX_CLASS_WIDTH and words <= 6:
        return Content("classes", len(counts), words)
    if words >= 3 or (width >= 16 and _is_unspaced(texts)):
        return Content("text", len(counts), words)
    return Content("words" if words > 1 or width < 16 else "identifiers", len(counts), words)


def _repeats(values: int, total: int) -> bool:
    return values * 2 <= total or (values <= FEW_VALUES and values < total)


def _is_unspaced(texts: Sequence[str]) -> bool:
    """Whether most letters are of a script from Hebrew on, which may have few spaces between words or none."""
    letters = [letter for text in texts[:100] for letter in text[:100] if letter.isalpha()]
    return sum(letter > "\u0590" for letter in letters) * 2 > len(letters)
