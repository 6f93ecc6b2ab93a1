"""Which other encoding than UTF-8 a file certainly is in: what its mark says, or the one reading that makes sense.

Nearly every byte is a character in cp1252, so that a file which can be read with it may be Polish, Russian, Chinese or of an
old Mac all the same. It is cp1252 only where its letters beyond ASCII are the same in the code pages of the neighbours or
those of one western language, where they stand as such letters can stand, and where the bytes are no GB18030.
"""

import codecs
import re
from collections import Counter
from pathlib import Path

BLOCK = 1 << 20  # bytes read at a time
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LANGUAGES = {
    "German": "äöüß",
    "French": "àâæçéèêëîïôùûüÿœ",
    "Spanish": "áéíóúüñ",
    "Catalan": "àçèéíïòóúü",
    "Portuguese": "áâãàçéêíóôõú",
    "Italian": "àèéìòù",
    "Dutch": "áéëíïóöúü",
    "Swedish and Finnish": "åäöé",
    "Danish and Norwegian": "åæøéò",
}
NEIGHBOURS = ("cp1250", "cp1254", "cp1257")
LEAST_LETTERS = 10  # from which on they show the language
USUAL = 0.98  # share of the letters that must be those of one language
MOST_LETTERS = 0.33  # share of the letters that may lie beyond ASCII in such a language
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
HIGH = re.compile(r"[^\x00-\x7f]")
JOINING = "'’‘´·­-–—/"  # what may stand between two letters besides letters
INSIDE = re.compile(rf"(?<=[^\W\d_])(?:[^\x00-\x7f\w{JOINING}])(?=[^\W\d_])")
RAISED = re.compile(r"[a-z][ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞŠŽŒŸ]")


def certain_encoding(path: Path) -> str | None:
    """The encoding of a file that is not UTF-8: utf-16, utf-32 or cp1252 where that is certain, else None."""
    with open(path, "rb") as handle:
        begin = handle.read(4)
    marked = next((codec for mark, codec in MARKS.items() if begin.startswith(mark)), None)
    if marked is not None:
        return marked if _reads(path, marked) else None
    return "cp1252" if _is_western(path) and not _reads(path, "gb18030") else None


def _reads(path: Path, codec: str) -> bool:
    """Whether every byte can be read with a codec."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        with open(path, "rb") as handle:
            while block := handle.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_western(path: Path) -> bool:
    """Whether the file makes sense as cp1252, as the text of one western language."""
    letters, total, odd = Counter[str](), 0, 0
    with open(path, encoding="cp1252", newline="") as handle:
        try:
            while block := handle.read(BLOCK):
                if CONTROL.search(block):
                    return False
                total += sum(map(str.isalpha, block))
                letters.update(found for found in HIGH.findall(block.lower()) if found.isalpha())
                odd += len(INSIDE.findall(block)) + len(RAISED.findall(block))
        except UnicodeDecodeError:
            return False
    beyond = letters.total()
    if beyond > MOST_LETTERS * total or odd > (1 - USUAL) * max(beyond, 1):
        return False
    shared = sum(count for letter, count in letters.items() if _is_shared(letter))
    usual = max(sum(letters[letter] for letter in alphabet) for alphabet in LANGUAGES.values())
    return shared >= USUAL * beyond or (beyond >= LEAST_LETTERS and usual >= USUAL * beyond)


def _is_shared(letter: str) -> bool:
    """Whether the byte of a letter is the same letter in the code pages of the neighbours."""
    byte = letter.encode("cp1252", errors="replace")
    return all(byte.decode(codec, errors="replace") == letter for codec in NEIGHBOURS)
