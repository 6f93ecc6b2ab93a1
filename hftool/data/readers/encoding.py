"""Which encoding a text file is in: what the user says or UTF-8, looked at byte by byte before a row is read."""

import codecs
import re
from pathlib import Path

from hftool.data.readers.encoding_detection import certain_encoding
from hftool.errors import DataError, UsageError

BLOCK = 1 << 20  # bytes read at a time
SAMPLE = 1 << 16  # bytes that a guess is made from
KNOWN = "Try utf-8, utf-16, gb18030, cp1252, latin-1"


def check_encoding(path: Path, encoding: str | None, notes: list[str]) -> str:
    """The codec to read a text file with, after a look at every byte of it: never mojibake, never half a file.

    Args:
        path: The file.
        encoding: What the user says; by default UTF-8, or what the file certainly is.
        notes: A sentence for the user is added where the file is read in another encoding than UTF-8 unasked.

    Raises:
        DataError: Not in that encoding, with the byte offset and a guess.
        UsageError: There is no such encoding.
    """
    codec = _find_codec(encoding or "utf-8")
    try:
        return _checked(path, codec)
    except DataError:
        certain = None if encoding else certain_encoding(path)
        if certain is None:
            raise
        notes.append(f"'{path}' is not UTF-8 and is read as {certain}; --encoding decides")
        return certain


def _checked(path: Path, codec: str) -> str:
    """The codec, once every byte of the file can be read with it. Raises DataError."""
    with open(path, "rb") as handle:
        sample = handle.read(SAMPLE)
        if codec == "utf-8" and _zeros(sample) > len(sample) // 8 and _byte_order(sample) and _reads(sample, codec):
            # UTF-16 without a mark is valid UTF-8 as long as it is English: a NUL after every letter
            raise _not_decodable(path, codec, sample.index(0))
        if codec == "utf-16" and sample[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            codec = "utf-16" + (_byte_order(sample) or "-le")
    _decode_all(path, codec)
    return "utf-8-sig" if codec == "utf-8" else codec


def _find_codec(encoding: str) -> str:
    try:
        if ",\n".encode(encoding).decode(encoding) == ",\n":
            return codecs.lookup(encoding).name
    except (LookupError, ValueError):  # no such codec, one from bytes to bytes such as hex, or one without line ends
        pass
    raise UsageError(f"unknown encoding '{encoding}'", KNOWN)


def _decode_all(path: Path, codec: str) -> None:
    decoder = codecs.getincrementaldecoder(codec)()
    offset = 0
    with open(path, "rb") as handle:
        while True:
            block = handle.read(BLOCK)
            held = len(decoder.getstate()[0])  # bytes of a character that the block before cut in two
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _not_decodable(path, codec, offset - held + error.start) from None
            if not block:
                return
            offset += len(block)


def _not_decodable(path: Path, codec: str, offset: int) -> DataError:
    with open(path, "rb") as handle:
        guess = guess_encoding(handle.read(SAMPLE))
        if guess in ("utf-8", codec):  # the trouble begins further down
            handle.seek(offset)
            guess = guess_encoding(handle.read(SAMPLE))
    what = f"'{path}' is not {codec.upper()}: byte {offset} cannot be read"
    return DataError(what, KNOWN) if guess == codec else DataError(f"{what}; it looks like {guess}", f"Try --encoding {guess}")


def guess_encoding(sample: bytes) -> str:
    """A guess for the hint of an error, from some bytes of a file: utf-8, utf-16, utf-32, gbk, cp1252 or latin-1."""
    if sample[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if sample[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or _byte_order(sample):
        return "utf-16"
    if _reads(sample, "utf-8"):
        return "utf-8"
    text = sample.decode("gbk", errors="ignore")
    han = sum("一" <= letter <= "鿿" for letter in text)
    high = sum(byte >= 0x80 for byte in sample)
    runs = re.findall(rb"[\x80-\xff]+", sample)
    odd = sum(len(run) % 2 for run in runs)  # GBK takes two bytes a character; an umlaut stands alone
    if 2 * han > 0.8 * high and odd <= 0.2 * len(runs):
        return "gbk"
    return "cp1252" if _reads(sample, "cp1252") else "latin-1"


def _reads(sample: bytes, codec: str) -> bool:
    """True if the sample can be read; a character that its end cuts in two is no fault."""
    try:
        codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _zeros(sample: bytes) -> int:
    return max(sample[::2].count(0), sample[1::2].count(0))


def _byte_order(sample: bytes) -> str:
    """-le or -be if this looks like UTF-16: digits, commas and line ends leave zeros at every second byte only."""
    first, second = sample[::2].count(0), sample[1::2].count(0)
    if max(first, second) <= len(sample) // 500 or 2 * min(first, second) > max(first, second):
        return ""
    return "-le" if second > first else "-be"
