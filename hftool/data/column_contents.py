"""What the columns of a table hold, judged by a sample of their cells and not by their names."""

import itertools
import random
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hftool.data.label_cells import is_mark
from hftool.data.readers.tables import Row, cell_text
from hftool.data.schema import is_blank, is_decimal_number, number_value, parse_literal

SAMPLE = 2000  # rows that are looked at
MOSTLY = 0.95  # share of the cells from which on a column is of that kind
FEW = 20  # so many different values may be classes, however seldom each of them occurs
LONGEST_CLASS = 50  # characters of a typical class name
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?$|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([T ,].*)?$|\d{1,2}:\d{2}(:\d{2})?$")
TIMES = ((1900, 2100), (9e8, 4e9), (9e11, 4e12))  # years, seconds and milliseconds since 1970
LARGE = 1e6  # whole numbers from which on they are counted by nobody
IDENTIFIER = re.compile(r"(^|[\W_])(?i:id|idx|index|uuid|guid)\d?$|[a-z]I[dD]$")
OFFSETS = re.compile(r"start|begin|offset")
TARGETS = ("classes", "amounts", "spans", "lists", "scores")
PHRASES = {
    "amounts": "numbers",
    "spans": "places in a text",
    "lists": "lists",
    "scores": "a number for each class",
    "empty": "nothing",
    "constant": "one value",
    "identifiers": "identifiers",
    "dates": "dates",
    "text": "texts",
    "words": "names or words",
    "objects": "objects",
}


@dataclass(frozen=True)
class Content:
    """What a column holds. kind: "classes" or a key of PHRASES. values: how many different ones were seen. words: of a typical
    cell, where cells are texts."""

    kind: str
    values: int = 0
    words: int = 1

    @property
    def is_target(self) -> bool:
        """Whether a model could be meant to learn it."""
        return self.kind in TARGETS

    def phrase(self) -> str:
        """The kind in words, such as "3 different values"."""
        return PHRASES.get(self.kind) or f"{self.values} different values"


@dataclass(frozen=True)
class Contents:
    """The contents of the columns of some rows, each judged when it is first asked for."""

    rows: Sequence[Row]
    _known: dict[str, Content] = field(default_factory=dict)

    @cached_property
    def _sample(self) -> Sequence[Row]:
        """Rows drawn at random, in their order: labels may come in turns."""
        count = len(self.rows)
        places = sorted(random.Random(0).sample(range(count), SAMPLE)) if count > SAMPLE else range(count)
        return [self.rows[i] for i in places]

    def of(self, column: str) -> Content:
        """What this column holds."""
        if column not in self._known:
            self._known[column] = infer_content([cell_of(row, column) for row in self._sample], column)
        return self._known[column]

    def parts(self, column: str) -> tuple[str, ...]:
        """The parts of a column of objects, as translation has en and de."""
        first = next((cell for row in self.rows[:1] if isinstance(cell := row.get(column), Mapping)), {})
        return tuple(map(str, first))


def cell_of(row: Row, column: str) -> Any:
    """The cell of a column, or the part of it that translation.de names; None where there is none."""
    if column in row or "." not in column:
        return row.get(column)
    head, _, rest = column.partition(".")
    inner = row.get(head)
    return inner.get(rest) if isinstance(inner, Mapping) else None


def infer_content(cells: Sequence[Any], name: str = "") -> Content:
    """What these cells hold. name: of their column, which tells an identifier from an amount."""
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
    if sum(bool(DATE.match(text)) for text in texts) >= MOSTLY * len(texts):
        return Content("dates", len(counts))
    numbers = [number for text in texts if (number := number_value(text)[0]) is not None]
    if len(numbers) >= MOSTLY * len(texts):
        return _infer_numeric(numbers, name)
    if sum(map(is_decimal_number, texts)) >= MOSTLY * len(texts):
        return Content("amounts", len(counts))
    content = _infer_text(texts, counts)
    is_name = content.kind == "words" and content.words == 1 and IDENTIFIER.search(name)
    return Content("identifiers", content.values) if is_name else content


def _value(cell: Any) -> Any:
    """A cell as a text, a list or an object; None where there is nothing."""
    convert = getattr(cell, "tolist", None)
    value = convert() if convert else cell
    if isinstance(value, str):
        written = parse_literal(value)
        value = value if written is None else written
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
    chosen = any(isinstance(value, Mapping) and "choices" in value for value in values)
    return Content("lists" if chosen else "objects")


def _is_span(item: Any) -> bool:
    """{"start": 0, "end": 3, ...} or [0, 3, "PER"], the names of the keys aside."""
    if isinstance(item, Mapping):
        return any(OFFSETS.search(str(key).lower()) for key in item)
    if not isinstance(item, (list, tuple)):
        return False
    whole = sum(isinstance(part, int) for part in item)
    return whole >= 2 and any(isinstance(part, str) for part in item)


def _infer_numeric(numbers: Sequence[float], name: str) -> Content:
    values, total = len(set(numbers)), len(numbers)
    if not all(number.is_integer() for number in numbers):
        return Content("amounts", values)
    if any(all(least <= number <= most for number in numbers) for least, most in TIMES):
        return Content("dates", values)
    rising = total > 2 and all(one < two for one, two in itertools.pairwise(numbers))
    if rising or (IDENTIFIER.search(name) and values > min(FEW, total / 2)) or (values == total and min(numbers) >= LARGE):
        return Content("identifiers", values)
    return Content("classes" if _repeats(values, total) else "amounts", values)


def _infer_text(texts: Sequence[str], counts: Counter[str]) -> Content:
    length = statistics.median(map(_width, texts))
    words = round(statistics.median(len(text.split()) for text in texts))
    if _repeats(len(counts), len(texts)) and length <= LONGEST_CLASS and words <= 6:
        return Content("classes", len(counts), words)
    if words >= 3 or (length >= 16 and _unspaced(texts)):
        return Content("text", len(counts), words)
    return Content("words" if words > 1 or length < 16 else "identifiers", len(counts), words)


def _repeats(values: int, total: int) -> bool:
    return values * 2 <= total or (values <= FEW and values < total)


def _width(text: str) -> int:
    """Characters, those of Chinese, Japanese and Korean counted twice: they say as much."""
    return len(text) if text.isascii() else len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def _unspaced(texts: Sequence[str]) -> bool:
    """Whether these are in a script that writes no spaces between words, or one that can do with few."""
    letters = [letter for text in texts[:100] for letter in text[:100] if letter.isalpha()]
    return sum(letter > "\u0590" for letter in letters) * 2 > len(letters)
