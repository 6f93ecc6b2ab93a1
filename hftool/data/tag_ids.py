"""Encodes tags as ids, across spelling variants, and reports the unusual ones."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hftool.data.tag_schemes import OUTSIDE, UNTYPED, Scheme, scheme_of

MAX_SHOWN = 5  # tags that a notice names


@dataclass
class TagCounts:
    """The frequency of each tag, and the line where it first occurs."""

    path: str
    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, int] = field(default_factory=dict)

    def add(self, tags: Iterable[str], line: int) -> None:
        """Count the tags of a row."""
        for tag in tags:
            self.counts[tag] += 1
            self.lines.setdefault(tag, line)

    def scheme(self) -> Scheme:
        """The scheme of the tags; in a tie the more frequent ones decide."""
        return scheme_of(tuple(tag for tag, _ in self.counts.most_common()))

    def listing(self, tags: Sequence[str]) -> str:
        """Tags with their counts and first lines, for a notice."""
        shown = [f"'{tag}' ({self.counts[tag]}, first at {self.path}:{self.lines[tag]})" for tag in tags[:MAX_SHOWN]]
        more = f" and {len(tags) - MAX_SHOWN} more" if len(tags) > MAX_SHOWN else ""
        return ", ".join(shown) + more


def tag_notes(seen: TagCounts, scheme: Scheme) -> tuple[str, ...]:
    """A notice for each way in which tags deviate from B-PER, I-PER and O, or from plain types."""
    tags = [tag for tag in seen.counts if scheme.canonical(tag) == tag]
    notes = [_form_note(scheme, tags)]
    outside = [tag for tag in tags if scheme.read(tag)[0] == OUTSIDE and tag != OUTSIDE]
    if outside:
        notes.append(f"tags: {seen.listing(outside)}: outside of all entities, as O")
    if scheme.form == "types":
        folded = Counter(tag.casefold() for tag in tags)
        alike = [tag for tag in tags if folded[tag.casefold()] > 1]
        notes.append(f"tags: {seen.listing(alike)} differ in case only, and stay separate tags" if alike else "")
    else:
        bare = [tag for tag in tags if tag not in outside and tag != OUTSIDE and not scheme.has_mark(tag)]
        notes.append(f"tags: {seen.listing(bare)}: without the mark that most have, a run of one is an entity" if bare else "")
    return tuple(filter(None, notes))


def outside_notes(names: Sequence[str]) -> tuple[str, ...]:
    """A notice on the named tags that mark no entity and are not O, such as that of padding."""
    scheme = scheme_of(tuple(names))
    found = [f"'{name}'" for name in names if name != OUTSIDE and scheme.read(name)[0] == OUTSIDE]
    return (f"tags: {', '.join(found)}: outside of all entities, as O",) if found else ()


def _form_note(scheme: Scheme, tags: Sequence[str]) -> str:
    if tags and all(tag.isdecimal() for tag in tags):
        return "tags: numbers without names, each a type, 0 too; --set labels=O,B-X,I-X names them from 0 on"
    usual = scheme.form == "types" or (scheme.form == "prefix" and scheme.separator == "-" and scheme.upper)
    example = next((tag for tag in tags if scheme.has_mark(tag) and scheme.read(tag)[0] == "B"), "")
    kind = scheme.read(example)[1] if example else UNTYPED
    what = "without a type" if kind == UNTYPED else f"of type '{kind}'"
    return "" if usual or not example else f"tags: '{example}' begins an entity {what}"


class TagEncoder:
    """Tag -> id, also for spelling variants of a label; those are collected for a notice."""

    def __init__(self, names: Sequence[str], index: Mapping[str, int], path: str) -> None:
        self.names, self.index = names, index
        self.scheme = scheme_of(tuple(names))
        folded = Counter(name.casefold() for name in index)
        self.folded = {name.casefold(): i for name, i in index.items() if folded[name.casefold()] == 1}
        self.variants = TagCounts(path)

    def get(self, tag: str, line: int) -> int | None:
        """The id of a tag, or None if no label matches; `line` is where it stands."""
        known = self.index.get(tag)
        if known is None and (known := self._match(tag)) is not None:
            self.variants.add([tag], line)
        return known

    def _match(self, tag: str) -> int | None:
        return self.index.get(self.scheme.canonical(tag), self.folded.get(tag.casefold()))

    def notes(self) -> tuple[str, ...]:
        """A notice on the variants and the labels they were read as."""
        tags = list(self.variants.counts)
        notices = [
            f"{self.variants.listing([tag])} is read as '{self.names[self._match(tag) or 0]}'" for tag in tags[:MAX_SHOWN]
        ]
        more = [f"{len(tags) - MAX_SHOWN} other tags likewise"] if len(tags) > MAX_SHOWN else []
        return ("tags: " + "; ".join([*notices, *more]),) if notices else ()
