"""Detects encodings other than UTF-8 that are certain: by BOM, or cp1252 as the only plausible one.

Nearly every file decodes as cp1252, be it Polish, Russian, Chinese or Mac Roman. It is cp1252 only if its letters beyond ASCII
are the same in neighbouring code pages or belong to one western language, are in plausible positions, and it is not GB18030.
"""

import codecs
import re
from collections import Counter
from pathlib import Path

from hftool.data.readers.containers import open_bytes, open_text

READ_SIZE = 1 << 20  # bytes in memory
BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose BOM is its prefix
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
ALPHABETS = (
    *("äöüß", "àâæçéèêëîïôùûüÿœ", "áéíóúüñ", "àçèéíïòóúü"),  # German, French, Spanish, Catalan
    *("áâãàçéêíóôõú", "àèéìòù", "áéëíïóöúü"),  # Portuguese, Italian, Dutch
    *("åäöé", "åæøéò"),  # Swedish and Finnish, Danish and Norwegian
)
NEIGHBOURS = ("cp1250", "cp1254", "cp1257")
MIN_LETTERS = 10  # with fewer, the language is unknown
MIN_LANGUAGE_SHARE = 0.98  # share of the letters beyond ASCII that must belong to one language
MAX_HIGH_SHARE = 0.33  # share of the letters beyond ASCII in such a language
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
HIGH = re.compile(r"[^\x00-\x7f]")
JOINING = "'’‘´·­-–—/"  # what may separate two letters
INSIDE = re.compile(rf"(?<=[^\W\d_])(?:[^\x00-\x7f\w{JOINING}])(?=[^\W\d_])")
RAISED = re.compile(r"[a-z][ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞŠŽŒŸ]")


def certain_encoding(path: Path) -> str | None:
    """The encoding of a file that is not UTF-8, if it is certain: utf-16, utf-32 or cp1252, else None."""
    with open_bytes(path) as handle:
        start = handle.read(4)
    marked = next((codec for bom, codec in BOMS.items() if start.startswith(bom)), None)
    if marked is not None:
        return marked if find_undecodable(path, marked) is None else None
    return "cp1252" if _is_western(path) and find_undecodable(path, "gb18030") is not None else None


def find_undecodable(path: Path, codec: str) -> int | None:
    """The offset of the first byte of a file that a codec cannot decode; None if there is none."""
    decoder = codecs.getincrementaldecoder(codec)()
    offset = 0
    with open_bytes(path) as handle:
        while True:
            block = handle.read(READ_SIZE)
            held = len(decoder.getstate()[0])  # bytes of an incomplete character of the previous block
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return offset - held + error.start
            if not block:
                return None
            offset += len(block)


def _is_western(path: Path) -> bool:
    """Whether the file is plausible as cp1252 text of one western language."""
    letters, total, odd = Counter[str](), 0, 0
    with open_text(path, "cp1252", "") as handle:
        try:
            while block := handle.read(READ_SIZE):
                if CONTROL.search(block):
                    return False
                total += sum(map(str.isalpha, block))
                letters.update(found for found in HIGH.findall(block.lower()) if found.isalpha())
                odd += len(INSIDE.findall(block)) + len(RAISED.findall(block))
        except UnicodeDecodeError:
            return False
    high = letters.total()
    if high > MAX_HIGH_SHARE * total or odd > (1 - MIN_LANGUAGE_SHARE) * max(high, 1):
        return False
    shared = sum(count for letter, count in letters.items() if _is_shared(letter))
    usual = max(sum(letters[letter] for letter in alphabet) for alphabet in ALPHABETS)
    return max(shared, usual if high >= MIN_LETTERS else 0) >= MIN_LANGUAGE_SHARE * high


def _is_shared(letter: str) -> bool:
    """Whether the byte of a letter is the same letter in the neighbouring code pages."""
    byte = letter.encode("cp1252", errors="replace")
    return all(byte.decode(codec, errors="replace") == letter for codec in NEIGHBOURS)
