"""CoNLL files to sentences: one token per line with its tag in the last column, a blank line after each sentence."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hftool.data.readers.conll2012 import FIRST, read_conll2012
from hftool.data.readers.containers import open_text
from hftool.errors import DataError

BLANK = " \t\r\n"  # and no other white space: a no-break space may be a token
INVISIBLE = BLANK + "\ufeff\u00a0\u200b"  # alone in a line of a file with several columns, it is blank
# annotation tools put "# id 7f3a" or "# text = It rains" above a sentence; a token "#" is followed by a tag only
COMMENT = re.compile(r"# (id |newdoc\b|newpar\b|[\w.]+ = )")
MARK = re.compile(r"# |###|#begin\b|#end\b")  # a comment too if it has another number of columns than the file
SAMPLE_LINES = 2000  # lines from which the layout is inferred
MIN_TOKENS = 5  # with fewer it may be chance that all are alike
MAX_SENTENCE = 200  # tokens
LANGUAGE = re.compile(r"([a-z]{2,3}(?:-[a-z-]{2,12})?):(?=.)", re.DOTALL)  # WikiANN's en:Sioux
ENTITY_TAG = re.compile(r"O|[BIESLU]-.+")
RANGE = re.compile(r"[0-9]+[-.][0-9]+")  # CoNLL-U: a multiword token, an empty node
CONLLU_WIDTH = 10  # columns: ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC


@dataclass
class ConllSentence:
    """A sentence, the line number of its first token, and the reason why it cannot be used, "" if it can."""

    number: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Layout:
    """The layout of the lines of a file."""

    width: int = 0  # number of columns
    tabs: bool = False  # only tabs separate columns
    token: int = 0  # index of the token column
    tag: int = 0  # index of the tag column
    tagged: bool = False  # whether there is one
    indexed: bool = False  # the first column numbers the tokens of each sentence
    prefixed: bool = False  # each token has its language as a prefix

    def is_comment(self, text: str, *, first: bool) -> bool:
        """Whether a line is a comment; `first`: whether it comes before all tokens of its sentence."""
        if self.indexed:
            return text.startswith("#") or not _first(text).isdecimal()  # CoNLL-U's 3-4 and 5.1
        if not first or not text.startswith("#"):
            return False
        other = self.width > 0 and len(self.columns(text)) != self.width
        return COMMENT.match(text) is not None or (other and MARK.match(text) is not None)

    def is_blank(self, text: str) -> bool:
        """Whether a line ends a sentence."""
        return not text or text.startswith("-DOCSTART-") or (self.width != 1 and not text.strip(INVISIBLE))

    def columns(self, text: str) -> list[str]:
        """The columns of a line."""
        if self.tabs:
            return text.split("\t")
        return [column for column in text.strip(BLANK).replace("\t", " ").split(" ") if column]


def read_conll(
    path: Path, codec: str, notes: list[str], *, tokens: int | None = None, tags: int | None = None
) -> Iterator[ConllSentence]:
    """Yield the sentences of a file, in bounded memory, and add notices to `notes`.

    The first lines decide on the layout; a sentence with a line of another width has a reason. -DOCSTART- lines only separate
    sentences. `tokens` and `tags` are the numbers of columns that the user chose, from 1.

    Raises:
        DataError: There is no such column, or a file of CoNLL-2012 has no words.
    """
    with open_text(path, codec) as handle:
        is_2012 = handle.readline().startswith(FIRST)
    if is_2012:
        notes.append(f"'{path}' is of CoNLL-2012: tokens are column 4, tags the entities of column 11, in IOB2")
        yield from (ConllSentence(*parts) for parts in read_conll2012(path, codec, tokens=tokens, tags=tags))
        return
    with open_text(path, codec) as handle:
        layout, found = find_layout(itertools.islice(handle, SAMPLE_LINES), chosen=tags is not None)
    layout = _chosen(layout, path, tokens, tags)
    notes += [f"'{path}': {note}" for note in found]
    sentence = ConllSentence(0)
    unnumbered: Counter[str] = Counter()
    with open_text(path, codec) as handle:
        for number, line in enumerate(handle, start=1):
            text = line.rstrip(BLANK)
            if layout.is_blank(text):
                if sentence.number:
                    yield sentence
                sentence = ConllSentence(0)
            elif not layout.is_comment(text, first=not sentence.number):
                sentence.number = sentence.number or number
                _add(sentence, layout, text, number)
            elif layout.indexed and RANGE.fullmatch(_first(text)):
                unnumbered["-" if "-" in _first(text) else "."] += 1
    if unnumbered:
        counts = f"{unnumbered['-']} multiword tokens (as 3-4) and {unnumbered['.']} empty nodes (as 8.1)"
        notes.append(f"'{path}': {counts} are left out; the words are the lines with whole numbers")
    if sentence.number:
        yield sentence


def _chosen(layout: Layout, path: Path, tokens: int | None, tags: int | None) -> Layout:
    """The layout with the columns of the user. Raises DataError if the file has fewer."""
    for number in filter(None, (tokens, tags)):
        if number > layout.width:
            what = f"'{path}' has {layout.width} columns and no column {number}"
            raise DataError(what, "Columns count from 1, that of token numbers as well")
    token = layout.token if tokens is None else tokens - 1
    return replace(layout, token=token, tag=layout.tag if tags is None else tags - 1, tagged=layout.tagged or tags is not None)


def _add(sentence: ConllSentence, layout: Layout, text: str, number: int) -> None:
    """Add the token of a line to its sentence."""
    columns = layout.columns(text)
    whole = len(columns) == layout.width
    token = columns[layout.token] if whole else columns[0]
    sentence.tokens.append(LANGUAGE.sub("", token, count=1) if layout.prefixed else token)
    if layout.tagged:
        sentence.tags.append(columns[layout.tag if whole else -1].strip(BLANK))
    if not whole and not sentence.reason:
        plural = "" if len(columns) == 1 else "s"
        sentence.reason = f"line {number} has {len(columns)} column{plural} where the file has {layout.width}"


def find_layout(lines: Iterable[str], *, chosen: bool = False) -> tuple[Layout, list[str]]:
    """The layout of a file by its first lines, and notices on what is unusual; `chosen`: the user says which column has tags.

    If the first token line has a tab, only tabs separate columns, so that a token may contain spaces; otherwise any run of
    spaces and tabs does. A first column that numbers tokens is skipped, a language prefix of every token is removed.
    """
    grouped = itertools.groupby(lines, key=lambda line: not line.strip(BLANK + "\ufeff") or line.startswith("-DOCSTART-"))
    groups = [[line.rstrip(BLANK) for line in group] for blank, group in grouped if not blank]
    layout = Layout(indexed=_is_indexed(groups))
    sentences = [_without_comments(group, layout) for group in groups]
    texts = [text for sentence in sentences for text in sentence]
    if not texts:
        return layout, []
    first = next((text for text in texts if not text.startswith("#")), texts[0])
    layout = replace(layout, tabs="\t" in first)
    layout = replace(layout, width=len(layout.columns(first)), token=int(layout.indexed))
    rows = [row for text in texts if len(row := layout.columns(text)) == layout.width]
    layout, notes = _with_tags(layout, rows, chosen=chosen)
    tokens = [row[layout.token] for row in rows]
    if len(tokens) >= MIN_TOKENS and all(map(LANGUAGE.match, tokens)):
        layout = replace(layout, prefixed=True)
        notes.append(f"each token begins with its language, as '{tokens[0]}', which is left out")
    return layout, notes + _boundary_notes([len(sentence) for sentence in sentences if sentence])


def _without_comments(group: Sequence[str], layout: Layout) -> list[str]:
    if layout.indexed:
        return [text for text in group if not layout.is_comment(text, first=False)]
    return list(itertools.dropwhile(lambda text: layout.is_comment(text, first=True), group))


def _is_indexed(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the first column numbers the tokens of each sentence, from 0, from 1 or on from the previous sentence."""
    last, total = 0, 0
    for group in sentences:
        firsts = [_first(text) for text in group if not text.startswith("#")]
        ids = [int(first) for first in firsts if first.isdecimal() and len(first) < 10]
        ranges = sum(RANGE.fullmatch(first) is not None for first in firsts)
        if len(ids) + ranges != len(firsts) or (ids and ids[0] not in (0, 1, last + 1)):
            return False
        if any(after != before + 1 for before, after in itertools.pairwise(ids)):
            return False
        last, total = (ids or [last])[-1], total + len(ids)
    return total > 2 and total > len(sentences) and any(" " in text or "\t" in text for group in sentences for text in group)


def _first(text: str) -> str:
    return text.replace("\t", " ").split(" ", maxsplit=1)[0]


def _with_tags(layout: Layout, rows: Sequence[Sequence[str]], *, chosen: bool) -> tuple[Layout, list[str]]:
    """The layout with its tag column, and a notice on a column of token numbers."""
    tagged = layout.width > layout.token + 1
    tag, which = layout.width - 1, "the last column"
    if layout.indexed and layout.width == CONLLU_WIDTH:
        tag, which = 3, "column 4, the parts of speech of CoNLL-U"
    elif layout.indexed and layout.width == 4 and _is_nested(rows):
        tag, which = 2, "column 3, since column 4 has entities inside of those"
    layout = replace(layout, tag=tag, tagged=tagged)
    if not layout.indexed:
        return layout, []
    tags = "" if chosen else f"; tags are {which}" if tagged else "; there are no tags"
    return layout, [f"the first column counts the tokens and is left out{tags}"]


def _is_nested(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last two columns are entities and nested entities, as in GermEval."""
    if not all(ENTITY_TAG.fullmatch(tag) for row in rows for tag in row[-2:]):
        return False
    outer, inner = ({row[column][2:] for row in rows} - {""} for column in (-2, -1))
    return bool(outer) and inner <= outer


def _boundary_notes(lengths: Sequence[int]) -> list[str]:
    """A notice on suspicious sentence boundaries."""
    if len(lengths) >= MIN_TOKENS and max(lengths) == 1:
        return ["every sentence is one token: there are blank lines after tokens instead of after sentences"]
    if lengths and min(lengths) >= MAX_SENTENCE:
        return [f"no blank lines separate sentences: {max(lengths)} tokens and more are read as one"]
    return []
