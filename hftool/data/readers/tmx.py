"""TMX, the exchange format of translation memories, to one row for each unit, with a column for each language."""

import re
import xml.parsers.expat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftool.data.readers.containers import open_bytes
from hftool.errors import DataError, brief

BLOCK = 1 << 16  # bytes in memory
CODES = ("bpt", "ept", "ph", "it", "ut")  # elements that hold the markup of the original, no text
SPACE = re.compile(r"[ \t\r\n]+")  # a line end in XML is a space
LANGUAGE = ("xml:lang", "lang", "LANG")


class _Units:
    """The units of a document, as its elements come."""

    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []
        self.unit: dict[str, str] = {}
        self.language = ""
        self.text: list[str] | None = None  # of the segment that is open
        self.codes = 0  # open elements of CODES
        self.spellings: dict[str, str] = {}  # case-folded language -> its first spelling
        self.root = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self.root = self.root or name
        if name == "tuv":
            language = next((attributes[key] for key in LANGUAGE if key in attributes), "")
            self.language = self.spellings.setdefault(language.casefold(), language)
        elif name == "seg":
            self.text = []
        elif name in CODES:
            self.codes += 1

    def end(self, name: str) -> None:
        """An element ends."""
        if name == "seg" and self.text is not None:
            self.unit.setdefault(self.language, SPACE.sub(" ", "".join(self.text)).strip(" "))
            self.text = None
        elif name == "tu":
            self.found.append(self.unit)
            self.unit = {}
        elif name in CODES:
            self.codes -= 1

    def data(self, text: str) -> None:
        """A piece of text."""
        if self.text is not None and not self.codes:
            self.text.append(text)


def read_tmx(path: Path) -> Iterator[dict[str, str]]:
    """Yield the units of a file, language -> text without markup, in bounded memory.

    Raises:
        DataError: It is no TMX, is damaged, or defines entities.
    """
    units = _Units()
    parser: Any = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = units.start, units.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = units.data, _refuse
    with open_bytes(path) as handle:
        try:
            while block := handle.read(BLOCK):
                parser.Parse(block, False)
                if units.root not in ("tmx", ""):
                    raise DataError(f"'{path}' is XML of <{units.root}>, not TMX")
                yield from units.found
                units.found.clear()
            parser.Parse(b"", True)
        except (xml.parsers.expat.ExpatError, ValueError) as error:
            raise DataError(f"'{path}' is not TMX, or damaged: {brief(error, 160)}") from None
    yield from units.found


def _refuse(*_: object) -> None:
    raise ValueError("it defines entities, which expand")
