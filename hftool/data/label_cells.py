"""What stands in a column of classes: one class in several spellings, several classes in one cell, marks for none."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hftool.data.schema import parse_literal

# what stands where a row has no label: SNLI has -, `datasets` has -1
MARKS = frozenset(("-", "--", "-1", "?", "n/a", "#n/a", "na", "nan"))
SIGNS = ("-", "--", "?")  # marks that hardly any class is called
RARE, RARE_SIGN = 0.1, 0.2  # share of the labels up to which a mark may stand for none
SEPARATORS = ("#", "|", ";", ",", "/", "+", "&")
NUMBER = re.compile(r"[-+]?\d+[.,/]\d+$")


def fold(word: str) -> str:
    """A label as spellings are compared: case and blanks aside."""
    return " ".join(word.split()).casefold()


def is_mark(word: str) -> bool:
    """Whether a word may stand for no label."""
    return word.casefold() in MARKS


def may_be_minus_one(classes: Iterable[str]) -> bool:
    """Whether -1 can be one of these classes: beside 0 and 1, or beside other negative numbers, it is a number as they are."""
    words = list(classes)
    return all(word.lstrip("-").isdecimal() for word in words) and (
        max(map(int, words), default=0) <= 1 or min(map(int, words)) < 0
    )


def without_marks(counts: Counter[str], listed: Collection[str]) -> Counter[str]:
    """The labels without those that stand for none: no class of a list, or rarer than every class.

    Args:
        counts: Label -> rows.
        listed: The classes, where the task, the data set or the user names them.
    """
    others = {word: count for word, count in counts.items() if not is_mark(word)}
    least = min(others.values(), default=0)
    none = set()
    for word in counts.keys() - others.keys():
        of_numbers = word == "-1" and may_be_minus_one(others)
        most = min((RARE_SIGN if word in SIGNS else RARE) * counts.total(), least - 1)
        rare = len(others) > 1 and counts[word] <= most and not of_numbers and not (word == "-" and "+" in others)
        if word not in listed if listed else rare:
            none.add(word)
    return Counter({word: count for word, count in counts.items() if word not in none})


def merge_spellings(counts: Counter[str]) -> Counter[str]:
    """Label -> rows, all spellings of a label under the most frequent one."""
    groups: dict[str, list[str]] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        groups.setdefault(fold(word), []).append(word)
    return Counter({words[0]: sum(counts[word] for word in words) for words in groups.values()})


def find_joined(words: Iterable[str]) -> dict[str, str]:
    """Labels that are several of the others joined -> what joins them. `R&D` is none where R and D are no labels."""
    known = {fold(word): word for word in words}
    found = {}
    for folded, word in known.items():
        if NUMBER.match(word):
            continue
        for separator in SEPARATORS:
            if separator in folded and _is_joined(folded, separator, known.keys() - {folded}):
                found[word] = separator
                break
    return found


def _is_joined(text: str, separator: str, words: Collection[str]) -> bool:
    """Whether a text is two or more of the words with a separator between each two; words may hold it themselves."""
    for word in words:
        if not text.startswith(word):
            continue
        rest = text[len(word) :].lstrip()
        if rest.startswith(separator):
            after = rest[len(separator) :].lstrip()
            if after in words or _is_joined(after, separator, words):
                return True
    return False


def listed_labels(cell: Any) -> list[str]:
    """The labels of a cell that holds a list of at least two, or {"choices": [...]} as Label Studio writes it; else []."""
    value: Any = parse_literal(cell) if isinstance(cell, str) else cell
    if isinstance(value, Mapping):
        value = value.get("choices")
    several = isinstance(value, (list, tuple)) and len(value) > 1 and all(isinstance(item, (str, int)) for item in value)
    return [str(item) for item in value] if several else []
