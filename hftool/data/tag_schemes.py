"""How tags of words mark entities: which part of a tag says where an entity begins, and which part is its type.

The tags themselves tell: most have a mark before the type (B-PER, I-PER), after it (PER-B), alone (B, I) or none at all (PER).
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
UNTYPED = "_"  # the type of an entity whose tags have none, as seqeval calls it
MARKS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S", "O": OUTSIDE}
# O as people and keyboards write it: the digit, the letters of Greek and Cyrillic, the word
OUTSIDES = frozenset({"o", "0", "\u03bf", "\u043e", "outside", "none"})
SPECIAL = re.compile(r"[\[<{(]/?(pad|cls|sep|unk|mask|bos|eos|start|stop|end|s|x|root)[^\w]*[\]>})]", re.IGNORECASE)
# what is no type where other tags have marks: the pieces of a word, the ends of a sentence, anything without a letter
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
    """How the tags of one data set or model are read.

    Args:
        form: where the mark stands; "types" when tags have none.
        outside: the tag of a word outside of all entities.
        upper: whether marks are capital letters.
        separator: between mark and type.
        letters: mark (B, I, E, S) -> the capital letter that most tags write it with, such as L for E.
        kinds: case-folded type -> the type as most tags write it.
        not_outside: spellings of O that are types here, such as a part of speech "o".
        readings: of the tags that the scheme was found in.
    """

    form: Form
    outside: str
    upper: bool
    separator: str
    letters: Mapping[str, str]
    kinds: Mapping[str, str]
    not_outside: frozenset[str]
    readings: Mapping[str, Reading]

    def read(self, tag: str) -> Reading:
        """The mark of a tag (B, I, E, S or O) and its type; a tag without a mark is read as I."""
        known = self.readings.get(tag)
        return known if known is not None else self._read(tag)

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
        """Whether what looks like a mark is one: `E-mail` has none where no other tag has an E."""
        letter, kind = found["mark"].upper(), _fold(found["kind"])
        if own and found["separator"] == self.separator and found["mark"].isupper() == self.upper:
            return True
        return (own and letter in "BI") or (letter in self.letters.values() and (kind in self.kinds or not kind))

    def canonical(self, tag: str) -> str:
        """The tag as most tags of the scheme would write it: B-PER for b_per; itself where nothing else says the same."""
        mark, kind = self.read(tag)
        if mark == OUTSIDE:
            return tag if kind else self.outside
        return self._spell(mark, kind) if self.has_mark(tag) else tag

    def inside(self, tag: str) -> str:
        """The tag that goes on with the entity of `tag`."""
        return self._spell("I", self.read(tag)[1])

    def _spell(self, mark: str, kind: str) -> str:
        letter = self.letters.get(mark, mark)
        letter = letter if self.upper else letter.lower()
        if kind == UNTYPED:
            return letter
        return f"{kind}{self.separator}{letter}" if self.form == "suffix" else f"{letter}{self.separator}{kind}"

    def has_mark(self, tag: str) -> bool:
        """Whether a tag says where in an entity its word stands, or is a type that other tags say it of."""
        mark, kind = self.read(tag)
        return self.form != "types" and mark != OUTSIDE and (kind == UNTYPED or _fold(kind) in self.kinds)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@functools.lru_cache(maxsize=64)
def scheme_of(labels: tuple[str, ...]) -> Scheme:
    """The scheme of the tags that a model answers or a data set holds, by what most of them say; of equal numbers the first."""
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
    """The spellings of O that are types beside others of their kind: numbers, or parts of speech of one letter."""
    if form != "types" or not typed:
        return frozenset()
    numbers = 2 * sum(tag.isdecimal() for tag in typed) > len(typed)
    letters = 2 * sum(len(tag) == 1 and tag.isalpha() for tag in typed) > len(typed)
    return frozenset(({"0"} if numbers else set()) | ({"o"} if letters else set()))


def _form(tags: Sequence[str]) -> Form:
    """Where the mark of most tags stands."""
    single = [tag for tag in tags if len(tag) == 1]
    alone = [match for tag in tags if (match := ALONE.fullmatch(tag))]
    if {match["mark"].upper() for match in alone} & set("BI") and 2 * len(alone) > len(tags) and len(single) <= len(alone):
        return "alone"
    best: Form = "types"
    most = (False, 0)
    for form in ("prefix", "suffix"):
        found = [match for tag in tags if (match := FORMS[form].fullmatch(tag))]
        paired = _is_paired(found)
        if _is_form(found, len(tags), paired=paired, standard=form == "prefix") and (paired, len(found)) > most:
            best, most = ("prefix" if form == "prefix" else "suffix"), (paired, len(found))
    return best


def _marks_of(found: Iterable[re.Match[str]]) -> dict[str, set[str]]:
    marks: dict[str, set[str]] = {}
    for match in found:
        marks.setdefault(_fold(match["kind"]), set()).add(MARKS[match["mark"].upper()])
    return marks


def _is_paired(found: Iterable[re.Match[str]]) -> bool:
    """Whether some type both begins and goes on, which no chance makes."""
    return any({"B", "I"} <= marks for marks in _marks_of(found).values())


def _is_form(found: Sequence[re.Match[str]], count: int, *, paired: bool, standard: bool) -> bool:
    """Whether so many of `count` tags have a mark that it is one, and no part of a name such as E-mail or Vitamin_B."""
    marks = _marks_of(found)
    used = set().union(*marks.values()) if marks else set()
    if paired:
        return 3 * len(found) >= count if standard else 2 * len(found) > count
    usual = [match for match in found if match["mark"].isupper() and match["separator"] == "-"]
    if standard and len(usual) == len(found):  # as seqeval reads them; tags that only end entities are names
        return 2 * len(found) > count and bool(used & {"B", "I", "S"})
    several = len(marks) > 1
    return len(found) == count and ("B" in used if standard and not several else bool(used & {"B", "I"}) and several)
