"""Counts the tags that do not follow the scheme of the others, such as I-PER after O where entities begin with B-."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hftool.data.tag_schemes import OUTSIDE, Reading, Scheme, scheme_of

MAX_PAIRS = 100_000  # different neighbours, more than tags have
NOTHING: Reading = (OUTSIDE, "")
Pair = tuple[str | None, str | None]  # two tags side by side; None is the border of a sentence


@dataclass
class TagPairs:
    """How often each two tags stand side by side, and the line of the sentence in which they first do."""

    counts: Counter[Pair] = field(default_factory=Counter)
    lines: dict[Pair, int] = field(default_factory=dict)

    def add(self, tags: Sequence[str], line: int) -> None:
        """Count the pairs of a sentence."""
        if len(self.counts) < MAX_PAIRS:
            for pair in itertools.pairwise([None, *tags, None]):
                self.counts[pair] += 1
                self.lines.setdefault(pair, line)

    def malformed_note(self, path: str) -> str:
        """The notice on the tags that do not follow their scheme, "" if there are none.

        In IOB1, where B- only separates entities of one type, an entity begins with I-; without B- anything follows.
        """
        tags = Counter({tag: count for tag, count in self._tags().items() if tag})
        scheme = scheme_of(tuple(tag for tag, _ in tags.most_common()))
        if scheme.form == "types" or len(self.counts) >= MAX_PAIRS:
            return ""
        marks: Counter[str] = Counter()
        for tag, count in tags.items():
            marks[scheme.read(tag)[0]] += count
        unopened = {pair: pair[1] for pair in self.counts if _opens_nothing(pair, scheme)}
        unclosed = {pair: pair[0] for pair in self.counts if _ends_nothing(pair, scheme)}
        ends = bool(marks["E"] or marks["S"])
        if not marks["B"] or (not ends and sum(self.counts[pair] for pair in unopened) > marks["B"]):
            return ""
        found = unopened | unclosed if ends else unopened
        if not found:
            return ""
        first = min(found, key=lambda pair: self.lines[pair])
        number = sum(self.counts[pair] for pair in found)
        why = "begin or end no entity as the others do" if ends else "continue no entity of their type"
        where = f"the first '{found[first]}' in the sentence of line {self.lines[first]}"
        return f"'{path}': {number} of {tags.total()} tags {why}, {where}; they are kept as they are"

    def _tags(self) -> Counter[str | None]:
        tags: Counter[str | None] = Counter()
        for (_, tag), count in self.counts.items():
            tags[tag] += count
        return tags


def _readings(pair: Pair, scheme: Scheme) -> tuple[Reading, Reading]:
    before, after = (NOTHING if tag is None else scheme.read(tag) for tag in pair)
    return before, after


def _opens_nothing(pair: Pair, scheme: Scheme) -> bool:
    """Whether the second tag continues an entity that the first one is not in."""
    before, after = _readings(pair, scheme)
    return after[0] in ("I", "E") and not (before[0] in ("B", "I") and before[1] == after[1])


def _ends_nothing(pair: Pair, scheme: Scheme) -> bool:
    """Whether the first tag is in an entity that the second one does not continue."""
    before, after = _readings(pair, scheme)
    return before[0] in ("B", "I") and not (after[0] in ("I", "E") and before[1] == after[1])
