"""Tagging schemes of entities, inferred from tags: a mark before the type (B-PER), after it (PER-B), alone (B) or none (PER).

Marks are those of IOB1, IOB2, IOE, BIOES, IOBES, BILOU, BMES and BMEWO. Ramshaw and Marcus, "Text Chunking using
Transformation-Based Learning", 1995; Ratinov and Roth, "Design Challenges and Misconceptions in Named Entity Recognition",
2009.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

OUTSIDE = "O"
UNTYPED = "_"  # seqeval's type of an entity whose tags have none
MARKS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S", "O": OUTSIDE}
# O and its look-alikes: the digit, the letters of Greek and Cyrillic, the word
OUTSIDES = frozenset({"o", "0", "\u03bf", "\u043e", "outside", "none"})
SPECIAL = re.compile(r"[\[<{(]/?(pad|cls|sep|unk|mask|bos|eos|start|stop|end|s|x|root)[^\w]*[\]>})]", re.IGNORECASE)
# no type if other tags have marks: subword pieces, sentence boundaries, anything without a letter
NO_TYPE = re.compile(r"x|pad|cls|sep|unk|bos|eos|start|stop|end|[\W\d_]+", re.IGNORECASE)
LETTERS, SEPARATORS = "".join(MARKS), "-_:/.|\u2010-\u2015\u2212"
PREFIX = re.compile(rf"(?P<mark>[{LETTERS}])(?P<separator>[{SEPARATORS}])(?P<kind>.+)", re.IGNORECASE | re.DOTALL)
SUFFIX = re.compile(rf"(?P<kind>.+)(?P<separator>[{SEPARATORS}])(?P<mark>[{LETTERS}])", re.IGNORECASE | re.DOTALL)
ALONE = re.compile(rf"(?P<mark>[{LETTERS}])(?P<separator>)(?P<kind>)[{SEPARATORS}]?", re.IGNORECASE)
FORMS = {"prefix": PREFIX, "suffix": SUFFIX, "alone": ALONE}

Form = Literal["prefix", "suffix", "alone", "types"]
Reading = tuple[str, str]  # B, I, E, S or O, and the type


@dataclass(frozen=True)
class Scheme:
    """The tagging scheme of one data set or model."""

    form: Form  # position of the mark; "types" if tags have none
    outside: str  # tag of a word outside of all entities
    upper: bool  # whether marks are capital letters
    separator: str  # between mark and type
    letters: Mapping[str, str]  # mark (B, I, E, S) -> its most frequent letter in upper case, such as L for E
    kinds: Mapping[str, str]  # case-folded type -> its most frequent spelling
    not_outside: frozenset[str]  # spellings of O that are types here, such as a part of speech "o"
    readings: Mapping[str, Reading]  # of the tags from which the scheme was inferred

    def read(self, tag: str) -> Reading:
        """The mark of a tag (B, I, E, S or O) and its type; a tag without a mark is read as I."""
        return self.readings.get(tag) or self._read(tag)

    def _read(self, tag: str) -> Reading:
        folded = _fold(tag)
        if folded in OUTSIDES and tag not in self.not_outside:
            return OUTSIDE, ""
        if SPECIAL.fullmatch(tag):
            return OUTSIDE, tag
        if self.form == "types":
            return "I", tag
        for name in (self.form, "alone", "prefix", "suffix"):
            found = FORMS[name].fullmatch(tag)
            if found and self._is_mark(found, own=name in (self.form, "alone")):
                kind = found["kind"]
                return MARKS[found["mark"].upper()], self.kinds.get(_fold(kind), kind) or UNTYPED
        if NO_TYPE.fullmatch(tag) and folded not in self.kinds:
            return OUTSIDE, tag
        return "I", self.kinds.get(folded, tag)

    def _is_mark(self, found: re.Match[str], *, own: bool) -> bool:
        """Whether an apparent mark is one: `E-mail` has none if no other tag has an E."""
        letter, kind = found["mark"].upper(), _fold(found["kind"])
        if own and found["separator"] == self.separator and found["mark"].isupper() == self.upper:
            return True
        return (own and letter in "BI") or (letter in self.letters.values() and (kind in self.kinds or not kind))

    def canonical(self, tag: str) -> str:
        """The tag in the scheme's most frequent spelling: B-PER for b_per; a tag without variants is unchanged."""
        mark, kind = self.read(tag)
        if mark == OUTSIDE:
            return tag if kind else self.outside
        return self._spell(mark, kind) if self.has_mark(tag) else tag

    def inside(self, tag: str) -> str:
        """The tag that continues the entity of `tag`."""
        return self._spell("I", self.read(tag)[1])

    def _spell(self, mark: str, kind: str) -> str:
        letter = self.letters.get(mark, mark)
        letter = letter if self.upper else letter.lower()
        if kind == UNTYPED:
            return letter
        return f"{kind}{self.separator}{letter}" if self.form == "suffix" else f"{letter}{self.separator}{kind}"

    def has_mark(self, tag: str) -> bool:
        """Whether a tag marks a position in an entity, or is a type that other tags mark."""
        mark, kind = self.read(tag)
        return self.form != "types" and mark != OUTSIDE and (kind == UNTYPED or _fold(kind) in self.kinds)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@functools.lru_cache(maxsize=64)
def scheme_of(labels: tuple[str, ...]) -> Scheme:
    """The scheme of the tags of a model or a data set, by majority; in a tie the first wins."""
    typed = [tag for tag in labels if _fold(tag) not in OUTSIDES and not SPECIAL.fullmatch(tag)]
    voters = [tag for tag in typed if not NO_TYPE.fullmatch(tag) or len(tag) == 1] or typed
    form = _form(voters)
    found = [match for tag in voters if form != "types" and (match := FORMS[form].fullmatch(tag))]
    styles = Counter((match["separator"], match["mark"].isupper()) for match in found)
    separator, upper = styles.most_common(1)[0][0] if styles else ("", True)
    letters = Counter(m["mark"].upper() for m in found if (m["separator"], m["mark"].isupper()) == (separator, upper))
    spellings = Counter(match["kind"] for match in found)
    kinds: dict[str, str] = {}
    for kind, _ in spellings.most_common():
        kinds.setdefault(_fold(kind), kind)
    not_outside = _not_outside(typed, form)
    outside = [tag for tag in labels if _fold(tag) in OUTSIDES and tag not in not_outside]
    scheme = Scheme(
        form=form,
        outside=OUTSIDE if OUTSIDE in outside or not outside else outside[0],
        upper=upper,
        separator=separator,
        letters={MARKS[letter]: letter for letter, _ in reversed(letters.most_common())},
        kinds={folded: kind for folded, kind in kinds.items() if folded},
        not_outside=not_outside,
        readings={},
    )
    return replace(scheme, readings={tag: scheme.read(tag) for tag in labels})


def _not_outside(typed: Sequence[str], form: Form) -> frozenset[str]:
    """The spellings of O that are types among others like them: numbers, or one-letter parts of speech."""
    if form != "types" or not typed:
        return frozenset()
    numbers = 2 * sum(tag.isdecimal() for tag in typed) > len(typed)
    letters = 2 * sum(len(tag) == 1 and tag.isalpha() for tag in typed) > len(typed)
    return frozenset(({"0"} if numbers else set()) | ({"o"} if letters else set()))


def _form(tags: Sequence[str]) -> Form:
    """The form of most tags."""
    single = [tag for tag in tags if len(tag) == 1]
    alone = [match for tag in tags if (match := ALONE.fullmatch(tag))]
    if {match["mark"].upper() for match in alone} & set("BI") and 2 * len(alone) > len(tags) and len(single) <= len(alone):
        return "alone"
    best: Form = "types"
    most = (False, 0)
    forms: tuple[Form, ...] = ("prefix", "suffix")
    for form in forms:
        found = [match for tag in tags if (match := FORMS[form].fullmatch(tag))]
        marks = _marks_of(found)
        paired = any({"B", "I"} <= of_type for of_type in marks.values())  # no coincidence
        if _is_form(found, len(tags), marks, paired=paired, standard=form == "prefix") and (paired, len(found)) > most:
            best, most = form, (paired, len(found))
    return best


def _marks_of(found: Iterable[re.Match[str]]) -> dict[str, set[str]]:
    """Folded type -> the marks it occurs with."""
    marks: dict[str, set[str]] = {}
    for match in found:
        marks.setdefault(_fold(match["kind"]), set()).add(MARKS[match["mark"].upper()])
    return marks


def _is_form(
    found: Sequence[re.Match[str]], count: int, marks: Mapping[str, set[str]], *, paired: bool, standard: bool
) -> bool:
    """Whether enough of `count` tags have a mark that it is not part of names such as E-mail or Vitamin_B."""
    used = set().union(*marks.values())
    if paired:
        return 3 * len(found) >= count if standard else 2 * len(found) > count
    usual = [match for match in found if match["mark"].isupper() and match["separator"] == "-"]
    if standard and len(usual) == len(found):  # as seqeval reads them; marks that only end entities are names
        return 2 * len(found) > count and bool(used & {"B", "I", "S"})
    several = len(marks) > 1
    return len(found) == count and ("B" in used if standard and not several else bool(used & {"B", "I"}) and several)
