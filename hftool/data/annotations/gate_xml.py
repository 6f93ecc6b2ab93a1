"""GATE's inline XML: each annotation is an element around its text, marked by `gate:gateId`. A line of the text is a row."""

import re
import xml.parsers.expat
from collections.abc import Iterator
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import annotated_records
from hftool.data.readers.containers import open_text
from hftool.data.readers.tables import OpenTable, Source
from hftool.errors import DataError, brief

IDS = ("gate:gateId", "gateId")  # some exporters write no prefix
ROOT = "gate:annotMaxId"  # attribute of the element around the document
# elements of the original page, and what GATE's own splitters add; compared without case
STRUCTURE = frozenset(["html", "body", "div", "p", "span", "li", "td", "paragraph", "sentence", "split", "token", "spacetoken"])
DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


class _Text:
    """The text of a document and the elements that are annotations, as they come."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.open: list[tuple[str, int]] = []  # type, "" for an element that is no annotation, and offset
        self.spans: list[tuple[int, int, str]] = []
        self.left_out: set[str] = set()
        self.is_gate = False
        self.has_nodes = False  # of GATE's other format, which has the annotations apart from the text

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self.has_nodes = self.has_nodes or name == "GateDocument"
        is_annotation = any(key in attributes for key in IDS)
        self.is_gate = self.is_gate or is_annotation
        if is_annotation and (name.casefold() in STRUCTURE or ROOT in attributes):
            self.left_out.add(name)
            is_annotation = False
        self.open.append((name if is_annotation else "", self.length))

    def end(self, _: str) -> None:
        """An element ends."""
        name, start = self.open.pop()
        if name:
            self.spans.append((start, self.length, name))

    def data(self, text: str) -> None:
        """A piece of text."""
        self.parts.append(text)
        self.length += len(text)


def open_gate(source: Source) -> OpenTable:
    """The records of the lines of a document. Raises DataError for other XML, or GATE's format with nodes."""
    found = _parsed(source)
    if found.has_nodes:
        raise DataError(f"'{source.path}' is GATE's XML with nodes", "Save it as inline XML")
    if not found.is_gate:
        raise DataError(f"'{source.path}' is XML without 'gate:gateId'", "Known are GATE's inline XML and TMX")
    if found.left_out:
        source.notes.append(f"'{source.path}': {', '.join(sorted(found.left_out))} are structure and are left out")
    return OpenTable((), annotated_records(_documents(found), source))


def _parsed(source: Source) -> _Text:
    found = _Text()
    parser: Any = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = found.start, found.end, found.data
    try:
        with open_text(source.path, source.codec()) as handle:
            # without a root it is no document for a parser; within one, a type definition is an error
            parser.Parse(f"<text>{DECLARATION.sub('', handle.read(), count=1)}</text>", True)
    except xml.parsers.expat.ExpatError as error:
        raise DataError(f"'{source.path}' is not GATE's inline XML, or damaged: {brief(error, 160)}") from None
    return found


def _documents(found: _Text) -> Iterator[Document]:
    """The lines with text, with the annotations in them; one over several lines makes these unusable."""
    whole, at = "".join(found.parts), 0
    for number, line in enumerate(whole.splitlines(keepends=True), start=1):
        start, text = at + len(line) - len(line.lstrip()), line.strip()
        end = start + len(text)
        at += len(line)
        if not text:
            continue
        inside = [one for one in found.spans if one[0] < end and one[1] > start]
        longer = [name for a, b, name in inside if a < start or b > end]
        reason = f"the annotation {longer[0]} is longer than the line" if longer else ""
        spans = tuple(Span(a - start, b - start, name, whole[a:b]) for a, b, name in inside)
        yield Document(number, text, () if reason else spans, source=number, reason=reason)
