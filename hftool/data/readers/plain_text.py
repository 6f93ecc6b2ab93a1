"""Checks that a .txt file is running text, and not a table, tagged words, labels or JSON."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from hftool.data.readers.csv_tsv import QUOTED
from hftool.errors import DataError

SAMPLE_LINES = 500  # without blank ones
MIN_SHARE = 0.95  # share of the lines that must have a format
MAX_CHARACTERS = 2000  # of a line
MIN_ROWS = 3  # with fewer lines, columns may be chance
MIN_LABELS = 10  # with fewer lines, a repeated first word may be chance
FASTTEXT = re.compile(r'(?:^|\s)__label__\S|"(?:[^"]|"")*__label__')  # also in quotation marks, as doccano exports some rows
FIRST_LABEL = re.compile(r"__label__\S+\s")
NAMED_CLASS = re.compile(r"[A-Za-z]{2,}:[A-Za-z]+")  # TREC's "DESC:manner How ..."
NUMBERED_CLASSES = {"-1", "0", "+1", "1", "2", "3", "4", "5"}
CONLL_TAG = re.compile(r"[Oo0]|[BIESLUM][-_]\S+|\S+-[BIES]", re.IGNORECASE)
POS_TAG = re.compile(r"[A-Z]{1,5}[$*]?|[.,:;()'`\"-]+|_")
TAGGED = re.compile(r"(\S*[^\W_]\.?)[/_]([A-Za-z][\w$*+-]{0,11}|[.,:;()'`\"-]+)|(\S)[/_]\3?\S{0,3}")
HEADER_CELL = re.compile(r"#?[A-Za-z_][\w .#-]{0,30}")
DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}
AS_TEXT = "or, if it is plain text, say so with --head"


def check_running_text(lines: Iterable[str], path: str) -> None:
    """Check that the first few hundred lines of a file are running text.

    Raises:
        DataError: The lines have another format; the hint names the ending, the format or the conversion.
    """
    sample = _sample(lines)
    for detect in (_json_objects, _fasttext, _conll, _tagged_words, _table, _leading_labels):
        found = detect(sample)
        if found:
            looks, remedy = found
            raise DataError(f"'{path}' is called a text but looks like {looks}", f"{remedy}; {AS_TEXT}")


def sniff_format(lines: Iterable[str]) -> str | None:
    """The format of a file whose ending says nothing, by its first few hundred lines; None if it is none that is known."""
    sample = _sample(lines)
    if any("\0" in line for line in sample):  # no text
        return None
    if sample and sample[0].startswith("#begin document ("):  # CoNLL-2012
        return "conll"
    for name, detect in (("fasttext", _fasttext), ("conll", _conll), ("label-first", _leading_labels)):
        if detect(sample):
            return name
    table = _table(sample)
    return None if table is None else "tsv" if ".tsv" in table[1] else "csv"


def is_conll(lines: Iterable[str]) -> bool:
    """Whether a file that is called a table has a token and its entity tag a line, and no header."""
    sample = _sample(lines)
    first = next((line for line in sample if not line.startswith(("-DOCSTART-", "# ", "#\t"))), "")
    return bool(CONLL_TAG.fullmatch(first.split()[-1]) if first.split() else False) and _conll(sample) is not None


def begins_with_labels(lines: Iterable[str]) -> bool:
    """Whether each of the first few hundred lines of a file begins with a label of fastText."""
    sample = _sample(lines)
    return len(sample) >= MIN_ROWS and all(FIRST_LABEL.match(line) for line in sample)


def is_fasttext(sample: Sequence[str]) -> bool:
    """Whether lines, without blank ones, are fastText's."""
    return _most(sample, sum(bool(FASTTEXT.search(line)) for line in sample), 1)


def leading_classes(sample: Sequence[str]) -> Counter[str]:
    """The classes before the texts of lines, such as 0 or DESC:manner, with their counts; none if the lines are others."""
    pairs = [parts for line in sample if len(parts := line.split(maxsplit=1)) == 2]
    firsts = Counter(first for first, rest in pairs if any(letter.isalpha() for letter in rest))
    named = sum(count for word, count in firsts.items() if NAMED_CLASS.fullmatch(word))
    numbered = sum(count for word, count in firsts.items() if word in NUMBERED_CLASSES)
    repeated = 2 <= len(firsts) <= firsts.total() / 3
    found = _most(sample, named, MIN_LABELS) or (_most(sample, numbered, MIN_LABELS) and "0" in firsts)
    return firsts if repeated and found else Counter()


def _sample(lines: Iterable[str]) -> list[str]:
    return list(itertools.islice((line.rstrip("\r\n")[:MAX_CHARACTERS] for line in lines if line.strip()), SAMPLE_LINES))


def _most(sample: Sequence[object], count: int, least: int = MIN_ROWS) -> bool:
    return len(sample) >= least and count >= MIN_SHARE * len(sample)


def _json_objects(sample: Sequence[str]) -> tuple[str, str] | None:
    if not all(line.lstrip().startswith("{") for line in sample[:1]):
        return None
    count = sum(line.lstrip().startswith('{"') and (len(line) == MAX_CHARACTERS or _is_object(line)) for line in sample)
    return ("JSON Lines", "Call it .jsonl") if _most(sample, count, 1) else None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _fasttext(sample: Sequence[str]) -> tuple[str, str] | None:
    if not is_fasttext(sample):
        return None
    return "fastText's lines of __label__NAME and a text", "Read it with --format fasttext"


def _conll(sample: Sequence[str]) -> tuple[str, str] | None:
    """One token and its tags per line."""
    rows = [line.split() for line in sample if not line.startswith(("-DOCSTART-", "# ", "#\t"))]
    width = _common([len(row) for row in rows])
    if not 2 <= width <= 12 or not _most(rows, sum(len(row) == width for row in rows)):
        return None
    tags = Counter(row[-1] for row in rows)
    entity = sum(count for tag, count in tags.items() if CONLL_TAG.fullmatch(tag))
    has_entities = _most(rows, entity) and any("-" in tag or "_" in tag for tag in tags)
    speech = sum(count for tag, count in tags.items() if POS_TAG.fullmatch(tag))
    has_speech = _most(rows, speech, 2 * MIN_ROWS) and 2 <= len(tags) <= min(60, 0.67 * len(rows))
    if not has_entities and not has_speech:
        return None
    return f"CoNLL, a token and its tag a line ('{' '.join(rows[0])[:40]}')", "Call it .conll"


def _tagged_words(sample: Sequence[str]) -> tuple[str, str] | None:
    """Words with attached tags: The/DT dog/NN, or The_DT dog_NN."""
    words = [word for line in sample for word in line.split()]
    tags = Counter(found[2] or "." for word in words if (found := TAGGED.fullmatch(word)))
    if not _most(words, tags.total(), 4) or not 2 <= len(tags) <= max(2, 0.6 * len(words)):
        return None
    remedy = "Write a word and its tag a line, with a blank line after each sentence, and call it .conll"
    return f"words with their tags ('{words[0][:30]}')", remedy


def _table(sample: Sequence[str]) -> tuple[str, str] | None:
    """The same number of cells in every line, by a delimiter that is not punctuation."""
    for delimiter, name in DELIMITERS.items():
        rows = [_cells(line, delimiter) for line in sample]
        width = _common([len(row) for row in rows])
        whole = [row for row in rows if len(row) == width]
        if width < 2 or not _most(rows, len(whole)) or not _is_table(whole, delimiter):
            continue
        cells = ", ".join(repr(cell[:20]) for cell in whole[0][:4])
        ending = ".tsv" if delimiter == "\t" else ".csv"
        looks = f"a table: {len(whole)} of {len(rows)} lines have {width} cells between {name}s, the first {cells}"
        return looks, f"Call it {ending}, with a first line that names the columns"
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return line.split("\t") if line[0] != "\t" or line.count("\t") > 1 else [line]
    return QUOTED.sub("q", line).split(delimiter)


def _is_table(rows: Sequence[Sequence[str]], delimiter: str) -> bool:
    """Whether cells are those of a table, and not speakers, page numbers, numbers or clauses."""
    columns = list(zip(*rows, strict=True))
    if not any(sum(any(letter.isalpha() for letter in cell) for cell in column) > len(rows) // 2 for column in columns):
        return False  # numbers
    if delimiter in ("\t", "|"):
        speakers = sum(cell.rstrip().endswith((":", ".")) and len(cell) < 40 for cell in columns[0])
        return not _most(columns[0], speakers) and not _are_pages(columns[-1])
    later = [cell for row in rows for cell in row[1:]]
    if sum(cell[:1].isspace() for cell in later) > 0.1 * len(later) or not all(later[: len(columns) - 1]):
        return False  # punctuation, with a space after it or at the end of a line
    return all(HEADER_CELL.fullmatch(cell) for cell in rows[0]) or any(len(set(column)) <= len(rows) / 2 for column in columns)


def _are_pages(column: Sequence[str]) -> bool:
    """Whether the cells are the ascending page numbers of a table of contents."""
    numbers = [int(cell) for cell in column if cell.strip().isdecimal()]
    return _most(column, len(numbers)) and numbers == sorted(numbers) and len(set(numbers)) > len(numbers) / 2


def _leading_labels(sample: Sequence[str]) -> tuple[str, str] | None:
    """A class before each text: 0 or 1, or TREC's DESC:manner."""
    firsts = leading_classes(sample)
    words = ", ".join(f"'{word}'" for word, _ in firsts.most_common(4))
    return (f"texts with a class before each ({words})", "Read it with --format label-first") if firsts else None


def _common(widths: Sequence[int]) -> int:
    """The most common number, 0 of none."""
    return Counter(widths).most_common(1)[0][0] if widths else 0
