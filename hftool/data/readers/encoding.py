"""The encoding of a text file: the user's, or UTF-8, verified over all bytes before a row is read."""

import codecs
import re
from pathlib import Path

from hftool.data.readers.containers import open_bytes
from hftool.data.readers.encoding_detection import certain_encoding, find_undecodable
from hftool.errors import DataError, UsageError

SAMPLE_BYTES = 1 << 16
ENCODINGS = "Try utf-8, utf-16, gb18030, cp1252, latin-1"


def check_encoding(path: Path, encoding: str | None, notes: list[str]) -> str:
    """The codec of a text file, verified over the whole file: no mojibake, no error halfway.

    Without the user's `encoding` it is UTF-8, or another that is certain, with a notice in `notes`.

    Raises:
        DataError: The file is not in that encoding; the message has the byte offset, the hint a guess.
        UsageError: There is no such encoding.
    """
    codec = find_codec(encoding or "utf-8")
    try:
        return _checked(path, codec)
    except DataError:
        certain = None if encoding else certain_encoding(path)
        if certain is None:
            raise
        notes.append(f"'{path}' is not UTF-8 and is read as {certain}; --encoding decides")
        return certain


def _checked(path: Path, codec: str) -> str:
    """The codec, if the whole file can be decoded with it. Raises DataError."""
    with open_bytes(path) as handle:
        sample = handle.read(SAMPLE_BYTES)
        zeros = max(sample[::2].count(0), sample[1::2].count(0))
        if codec == "utf-8" and zeros > len(sample) // 8 and _byte_order(sample) and _reads(sample, codec):
            # English UTF-16 without a BOM is valid UTF-8: a NUL after every letter
            raise _not_decodable(path, codec, sample.index(0))
        if codec == "utf-16" and sample[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            codec = "utf-16" + (_byte_order(sample) or "-le")
    offset = find_undecodable(path, codec)
    if offset is not None:
        raise _not_decodable(path, codec, offset)
    return "utf-8-sig" if codec == "utf-8" else codec


def find_codec(encoding: str) -> str:
    """The name of the codec of an encoding that text files can have. Raises UsageError for any other."""
    try:
        if ",\n".encode(encoding).decode(encoding) == ",\n":
            return codecs.lookup(encoding).name
    except (LookupError, ValueError):  # no such codec, a bytes-to-bytes codec such as hex, or one without line ends
        pass
    raise UsageError(f"unknown encoding '{encoding}'", ENCODINGS)


def _not_decodable(path: Path, codec: str, offset: int) -> DataError:
    guess = guess_encoding(_sample(path, 0))
    if guess in ("utf-8", codec):  # the first bytes are fine
        guess = guess_encoding(_sample(path, offset))
    what = f"'{path}' is not {codec.upper()}: byte {offset} cannot be read"
    return (
        DataError(what, ENCODINGS) if guess == codec else DataError(f"{what}; it looks like {guess}", f"Try --encoding {guess}")
    )


def _sample(path: Path, offset: int) -> bytes:
    """Some bytes of a file from an offset on."""
    with open_bytes(path) as handle:
        while offset > 0:  # what is unpacked while it is read cannot seek
            offset -= len(handle.read(min(offset, SAMPLE_BYTES)))
        return handle.read(SAMPLE_BYTES)


def guess_encoding(sample: bytes) -> str:
    """A guess from some bytes of a file, for a hint: utf-8, utf-16, utf-32, gbk, cp1252 or latin-1."""
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
    odd = sum(len(run) % 2 for run in runs)  # a GBK character has two bytes, an umlaut one
    if 2 * han > 0.8 * high and odd <= 0.2 * len(runs):
        return "gbk"
    return "cp1252" if _reads(sample, "cp1252") else "latin-1"


def _reads(sample: bytes, codec: str) -> bool:
    """Whether the sample can be decoded; its last character may be incomplete."""
    try:
        codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _byte_order(sample: bytes) -> str:
    """-le or -be if the sample looks like UTF-16: digits, commas and line ends have zeros in every second byte only."""
    first, second = sample[::2].count(0), sample[1::2].count(0)
    if max(first, second) <= len(sample) // 500 or 2 * min(first, second) > max(first, second):
        return ""
    return "-le" if second > first else "-be"
