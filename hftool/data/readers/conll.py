"""CoNLL to sentences: a token a line with its tag in the last column, a blank line after each sentence."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

BLANK = " \t\r\n"  # and no other white space: a no-break space may be a token
# what annotation tools write above a sentence, "# id 7f3a" or "# text = It rains"; a token "#" has a tag and no more
COMMENT = re.compile(r"# (id |[\w.]+ = )")
SAMPLE = 2000  # lines from which the layout is read
LEAST_TOKENS = 5  # from which on it is no accident that all begin alike
LONG = 200  # tokens: no sentence is longer
LANGUAGE = re.compile(r"([a-z]{2,3}(?:-[a-z-]{2,12})?):(?=.)", re.DOTALL)  # WikiANN's en:Sioux
ENTITY_TAG = re.compile(r"O|[BIESLU]-.+")
RANGE = re.compile(r"[0-9]+[-.][0-9]+")  # CoNLL-U: a word written for several, a word that is not written
CONLLU = 10  # columns: ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC


@dataclass
class Sentence:
    """A sentence and the line on which it begins. tags: one for each token, or none when the file has none. reason: why it
    cannot be used, "" when it can."""

    number: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are read.

    width: columns. tabs: whether tabs alone part them. token, tag: the places of these two; tag is 0 where there is none.
    indexed: whether the first column counts the tokens of each sentence. prefixed: whether each token begins with its language.
    """

    width: int = 0
    tabs: bool = False
    token: int = 0
    tag: int = 0
    indexed: bool = False
    prefixed: bool = False

    def is_comment(self, text: str, *, first: bool) -> bool:
        """Whether a line is no token. first: whether no token of its sentence stands before it."""
        if self.indexed:
            return text.startswith("#") or not _first(text).isdecimal()  # CoNLL-U's 3-4 and 5.1
        return first and COMMENT.match(text) is not None

    def columns(self, text: str) -> list[str]:
        """The columns of a line."""
        if self.tabs:
            return text.split("\t")
        return [column for column in text.strip(BLANK).replace("\t", " ").split(" ") if column]


def read_conll(path: Path, codec: str, notes: list[str] | None = None) -> Iterator[Sentence]:
    """The sentences of a file, in bounded memory.

    The first lines decide how all are read (`find_layout`): a sentence with a line that has another number of columns comes
    with a reason. -DOCSTART- lines part sentences and are none.

    Args:
        path: The file.
        codec: Its encoding.
        notes: Sentences for the user are added to it: a column or a prefix that is left out, sentences that are none.
    """
    notices = [] if notes is None else notes
    with open(path, encoding=codec) as handle:
        layout, found = find_layout(itertools.islice(handle, SAMPLE))
    notices += [f"'{path}': {note}" for note in found]
    sentence = Sentence(0)
    with open(path, encoding=codec) as handle:
        for number, line in enumerate(handle, start=1):
            text = line.rstrip(BLANK)
            if not text or text.startswith("-DOCSTART-"):
                if sentence.number:
                    yield sentence
                sentence = Sentence(0)
            elif not layout.is_comment(text, first=not sentence.number):
                sentence.number = sentence.number or number
                _add(sentence, layout, text, number)
    if sentence.number:
        yield sentence


def _add(sentence: Sentence, layout: Layout, text: str, number: int) -> None:
    """Put the token of a line into its sentence."""
    columns = layout.columns(text)
    whole = len(columns) == layout.width
    token = columns[layout.token] if whole else columns[0]
    sentence.tokens.append(LANGUAGE.sub("", token, count=1) if layout.prefixed else token)
    if layout.tag:
        sentence.tags.append(columns[layout.tag if whole else -1].strip(BLANK))
    if not whole and not sentence.reason:
        sentence.reason = f"line {number} has {_counted(len(columns))} where the file has {layout.width}"


def find_layout(lines: Iterable[str]) -> tuple[Layout, list[str]]:
    """How a file is read, by its first lines, and the sentences for the user on what is not as usual.

    The first line with a token decides on the columns: when it has a tab, tabs alone part them, so that a token may hold
    spaces; otherwise any run of spaces and tabs does. A first column that counts tokens is no token, and a language that begins
    every token is none of its characters.
    """
    parted = itertools.groupby(lines, key=lambda line: not line.strip(BLANK) or line.startswith("-DOCSTART-"))
    groups = [[line.rstrip(BLANK) for line in group] for blank, group in parted if not blank]
    marked = Layout(indexed=_is_indexed(groups))
    kept = [_tokens_of(group, marked) for group in groups]
    texts = [text for group in kept for text in group]
    if not texts:
        return marked, []
    layout = replace(marked, tabs="\t" in texts[0])
    layout = replace(layout, width=len(layout.columns(texts[0])), token=int(layout.indexed))
    rows = [row for text in texts if len(row := layout.columns(text)) == layout.width]
    layout, notes = _with_tags(layout, rows)
    tokens = [row[layout.token] for row in rows]
    if len(tokens) >= LEAST_TOKENS and all(map(LANGUAGE.match, tokens)):
        layout = replace(layout, prefixed=True)
        notes.append(f"each token begins with its language, as '{tokens[0]}', which is left out")
    return layout, notes + _odd_sentences([len(group) for group in kept if group])


def _tokens_of(group: Sequence[str], layout: Layout) -> list[str]:
    """The lines of a sentence without its comments."""
    if layout.indexed:
        return [text for text in group if not layout.is_comment(text, first=False)]
    return list(itertools.dropwhile(lambda text: layout.is_comment(text, first=True), group))


def _is_indexed(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the first column counts the tokens of each sentence, from 0, from 1 or on from the sentence before."""
    last, total = 0, 0
    for group in sentences:
        firsts = [_first(text) for text in group if not text.startswith("#")]
        counted = [int(first) for first in firsts if first.isdecimal() and len(first) < 10]
        ranges = sum(RANGE.fullmatch(first) is not None for first in firsts)
        if len(counted) + ranges != len(firsts) or (counted and counted[0] not in (0, 1, last + 1)):
            return False
        if any(after != before + 1 for before, after in itertools.pairwise(counted)):
            return False
        last, total = (counted or [last])[-1], total + len(counted)
    return total > 2 and total > len(sentences) and any(" " in text or "\t" in text for group in sentences for text in group)


def _first(text: str) -> str:
    return text.replace("\t", " ").split(" ", maxsplit=1)[0]


def _with_tags(layout: Layout, rows: Sequence[Sequence[str]]) -> tuple[Layout, list[str]]:
    """The layout with the place of its tags, and what is to be said of an index."""
    tag = layout.width - 1 if layout.width > layout.token + 1 else 0
    which = "the last column"
    if layout.indexed and layout.width == CONLLU:
        tag, which = 3, "column 4, the parts of speech of CoNLL-U"
    elif layout.indexed and layout.width == 4 and _is_nested(rows):
        tag, which = 2, "column 3, since column 4 has entities inside of those"
    if not layout.indexed:
        return replace(layout, tag=tag), []
    tags = f"tags are {which}" if tag else "there are no tags"
    return replace(layout, tag=tag), [f"the first column counts the tokens and is left out; {tags}"]


def _is_nested(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last two columns are entities and entities inside of them, as in GermEval."""
    if not all(ENTITY_TAG.fullmatch(tag) for row in rows for tag in row[-2:]):
        return False
    outer, inner = ({row[place][2:] for row in rows} - {""} for place in (-2, -1))
    return bool(outer) and inner <= outer


def _odd_sentences(lengths: Sequence[int]) -> list[str]:
    """What is to be said of sentences that are none."""
    if len(lengths) >= LEAST_TOKENS and max(lengths) == 1:
        return ["every sentence is one token: a blank line stands after each, where it should stand after a sentence"]
    if lengths and min(lengths) >= LONG:
        return [f"no blank lines part sentences: {max(lengths)} tokens and more are read as one"]
    return []


def _counted(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"
