"""WebAnno's and INCEpTION's TSV 3: a token a line with its offsets, spans of one layer over several. UTF-16, document-wide."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import annotated_records
from hftool.data.annotations.utf16 import from_utf16
from hftool.data.readers.containers import open_text
from hftool.data.readers.tables import OpenTable, Source
from hftool.errors import DataError

HEADER = "#FORMAT="
KNOWN = re.compile(r"WebAnno TSV 3\.[1-3]")
SPAN_LAYER = "#T_SP="
TEXT = "#Text="
TOKEN = re.compile(r"\d+-\d+(\.\d+)?")  # sentence and token; 1-2.1 is a part of token 1-2 and comes after it
OFFSETS = re.compile(r"(\d+)-(\d+)")
EMPTY = ("_", "*", "")
NUMBERED = re.compile(r"(.*?)(?:\[(\d+)\])?", re.DOTALL)  # a value, and the number of a span over several tokens
PARTS = re.compile(r"(?:\\.|[^|\\])+", re.DOTALL)  # annotations of one token that are stacked
SLOT = "ROLE_"  # a feature whose values are other annotations; the type of these follows
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}


@dataclass
class _Sentence:
    """A sentence: its line, its text, and the offsets and cells of its tokens and parts of tokens."""

    number: int = 0
    text: str = ""
    tokens: list[tuple[int, int, list[str]]] = field(default_factory=list)


def open_webanno(source: Source) -> OpenTable:
    """The records of the sentences. Raises DataError for another version of the format, or without spans."""
    with open_text(source.path, source.codec(), "\n") as handle:
        first = handle.readline().strip()
        version = first.removeprefix(HEADER)
        if not KNOWN.fullmatch(version):
            met = f"is {version}" if first.startswith(HEADER) else "does not begin with #FORMAT=WebAnno TSV 3"
            raise DataError(f"'{source.path}' {met}", "Known is WebAnno TSV 3.1 to 3.3: export it as that")
    return OpenTable((), annotated_records(_documents(source), source))


def _documents(source: Source) -> Iterator[Document]:
    column = 0
    sentence, layers = _Sentence(), list[str]()
    with open_text(source.path, source.codec(), "\n") as handle:
        for number, raw in enumerate(handle, start=1):
            line = raw.rstrip("\r\n")
            if line.startswith(SPAN_LAYER):
                layers.append(line.removeprefix(SPAN_LAYER))
            elif line.startswith(TEXT):
                text = _unescaped(line.removeprefix(TEXT))
                if sentence.tokens or not sentence.number:
                    yield from _finished(sentence, column)
                    sentence = _Sentence(number, text)
                else:
                    sentence.text += "\n" + text
            elif TOKEN.fullmatch(line.partition("\t")[0]):
                column = column or _value_column(layers, source)
                cells = line.split("\t")
                offsets = OFFSETS.fullmatch(cells[1]) if len(cells) > 1 else None
                if offsets is None:
                    raise DataError(f"'{source.path}': line {number} is no token of WebAnno TSV 3: '{line[:80]}'")
                sentence.tokens.append((int(offsets[1]), int(offsets[2]), cells))
    yield from _finished(sentence, column)


def _value_column(layers: list[str], source: Source) -> int:
    """The index of the column of the first feature of the first layer that is named an entity, else of the only layer."""
    at, found = 3, dict[str, int]()
    for layer in layers:
        name, *features = layer.split("|")
        if features:
            plain = [i for i in range(len(features)) if SLOT not in (features[i][:5], features[i - 1][:5] if i else "")]
            named = [i for i in plain if features[i] in ("value", "label")]
            if plain:
                found[name] = at + (named or plain)[0]
        at += len(features) or 1
    entities = next((column for name, column in found.items() if "NamedEntity" in name), None)
    if entities is None and len(found) != 1:
        known = ", ".join(name.rpartition(".")[2] for name in found) or "none with a value"
        raise DataError(f"'{source.path}' has no layer of named entities and not one span layer; it has {known}")
    return entities or next(iter(found.values()))


def _finished(sentence: _Sentence, column: int) -> Iterator[Document]:
    if not sentence.tokens:
        return
    before = sentence.text[: len(sentence.text) - len(sentence.text.lstrip())]
    origin = sentence.tokens[0][0] - len(before)
    runs: dict[tuple[str, str], Span] = {}
    for index, (start, end, cells) in enumerate(sentence.tokens):
        cell = cells[column] if column < len(cells) else "_"
        for part in PARTS.findall(cell):
            found = NUMBERED.fullmatch(part)
            assert found is not None
            if part in EMPTY or found[1] in EMPTY:
                continue
            label = _unescaped(found[1])
            known = runs.get((label, found[2] or f"of {index}"))
            first = known.start if known else start - origin
            runs[label, found[2] or f"of {index}"] = Span(first, end - origin, label)
    spans, reason = from_utf16(sentence.text, runs.values())
    yield Document(sentence.number, sentence.text, tuple(spans), source=sentence.number, reason=reason)


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), text)
