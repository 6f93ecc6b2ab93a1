"""CoNLL to sentences: a token a line with its tag in the last column, a blank line after each sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLANK = " \t\r\n"  # and no other white space: a no-break space may be a token
# what annotation tools write above a sentence, "# id 7f3a" or "# text = It rains"; a token "#" has a tag and no more
COMMENT = re.compile(r"# (id |[\w.]+ = )")


@dataclass
class Sentence:
    """A sentence and the line on which it begins. tags: one for each token, or none when the file has none. reason: why it
    cannot be used, "" when it can."""

    number: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    reason: str = ""


def read_conll(path: Path, codec: str) -> Iterator[Sentence]:
    """The sentences of a file, in bounded memory.

    The first line with a token decides: when it has a tab, tabs alone part the columns, so that a token may hold spaces;
    otherwise any run of spaces and tabs does. It also decides how many columns there are: a sentence with a line that has
    another number comes with a reason. -DOCSTART- lines part sentences and are none.
    """
    width, tabs = 0, False
    sentence = Sentence(0)
    with open(path, encoding=codec) as handle:
        for number, line in enumerate(handle, start=1):
            text = line.rstrip(BLANK)
            if not text or text.startswith("-DOCSTART-"):
                if sentence.number:
                    yield sentence
                sentence = Sentence(0)
                continue
            if not sentence.number and COMMENT.match(text):
                continue
            if not width:
                tabs = "\t" in text
            columns = text.split("\t") if tabs else text.strip(BLANK).replace("\t", " ").split(" ")
            columns = columns if tabs else [column for column in columns if column]
            width = width or len(columns)
            sentence.number = sentence.number or number
            sentence.tokens.append(columns[0])
            if width > 1:
                sentence.tags.append(columns[-1].strip(BLANK))
            if len(columns) != width and not sentence.reason:
                sentence.reason = f"line {number} has {_counted(len(columns))} where the file has {width}"
    if sentence.number:
        yield sentence


def _counted(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"
