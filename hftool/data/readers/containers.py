"""Compressed files and zip archives to the bytes of the file inside: .gz, .bz2, .xz, .zst, .zip, recognized by content.

The part of a file is named after a #: corpus.zip#train.csv, book.xlsx#Sheet 2, reviews.sqlite#films.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hftool.data.readers.formats import ARCHIVE, FORMATS, is_known
from hftool.errors import DataError, InputMissing, Refused, brief, listing

BLOCK = 1 << 18  # bytes in memory
MAX_RATIO = 200  # texts shrink to a fifth, tables of few values to a fiftieth
MIN_BOMB = 1 << 30  # bytes from which the ratio counts
FAULTS = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
ABOUT = ("readme", "license", "licence")  # files beside a table
WITH_PARTS = (ARCHIVE, *(ending for ending, kind in FORMATS.items() if kind in ("workbook", "sqlite")))


def _open_zst(source: IO[bytes]) -> Any:
    """A stream of any number of zstd frames, whose end must be one."""
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(source, mode="r"), "zstd")


MAGIC: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {  # pattern of the first bytes -> name, opener
    rb"\x1f\x8b\x08": ("gzip", lambda source: gzip.GzipFile(fileobj=source)),
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": ("bzip2", bz2.BZ2File),
    rb"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    rb"\x28\xb5\x2f\xfd": ("zstd", _open_zst),
}
MAGIC_SIZE = 10


class _Expanded(io.RawIOBase):
    """The bytes of a compressed stream. Damage is a DataError, growth out of proportion is Refused."""

    def __init__(self, stream: Any, name: str, kind: str, size: int) -> None:
        self.stream, self.name, self.kind, self.size = stream, name, kind, size
        self.total = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer -> the number of bytes, 0 at the end."""
        try:
            block = self.stream.read(len(buffer))
        except FAULTS as error:
            raise damaged_archive(self.name, self.kind, error) from None
        self.total += len(block)
        if self.total > MIN_BOMB and self.total > MAX_RATIO * self.size:
            what = f"'{self.name}' expands to over {MAX_RATIO} times its size, as no table does"
            raise Refused(what, "Unpack it yourself if you trust it")
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """Close the stream, too."""
        if not self.closed:
            self.stream.close()
        super().close()


def damaged_archive(name: str, kind: str, error: BaseException) -> DataError:
    """The error for a compressed file that cannot be read."""
    encrypted = "encrypted" in str(error) or "password" in str(error)
    why = "it is encrypted" if encrypted else f"not {kind}, or damaged: {brief(error, 160)}"
    return DataError(f"'{name}' cannot be unpacked: {why}")


def split_part(name: str | Path) -> tuple[Path, str]:
    """The file on disk, and the part after #, "" if there is none: a member, a sheet, a table or a query."""
    name = str(name)
    if "#" not in name or os.path.exists(name):  # noqa: PTH110 - Path raises OSError where a query is too long for a name
        return Path(name), ""
    ends = [i for i, letter in enumerate(name) if letter == "#" and Path(name[:i]).suffix.lower() in WITH_PARTS]
    at = next((i for i in ends if Path(name[:i]).is_file()), ends[0] if ends else len(name))
    return Path(name[:at]), name[at + 1 :]


def join_part(file: Path, part: str) -> str:
    """The name that `split_part` splits."""
    return f"{file}#{part}" if part else str(file)


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if it is compressed; of an archive those of the member after #.

    Raises:
        DataError: It is damaged, also while it is read.
        Refused: It expands out of proportion, also while it is read.
    """
    file, part = split_part(path)
    handle, size = _open_member(file, part) if part else (open(file, "rb"), file.stat().st_size)
    try:
        start = handle.peek(MAGIC_SIZE)[:MAGIC_SIZE]
        found = next(((kind, opened) for magic, (kind, opened) in MAGIC.items() if re.match(magic, start)), None)
        if found is None:
            return handle
        stream = _Expanded(_Closing(found[1](handle), handle), str(path), found[0], size)
    except BaseException:
        handle.close()
        raise
    return io.BufferedReader(stream, BLOCK)


class _Closing:
    """A decompressing stream that closes its source, too."""

    def __init__(self, stream: Any, source: IO[bytes]) -> None:
        self.stream, self.source = stream, source

    def read(self, size: int) -> bytes:
        """At most so many bytes."""
        return bytes(self.stream.read(size))

    def close(self) -> None:
        """Close both."""
        self.stream.close()
        self.source.close()


def _open_member(file: Path, name: str) -> tuple[io.BufferedReader, int]:
    """A member of a zip archive, and its compressed size."""
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(name)
            stream = _Expanded(archive.open(info), f"{file}#{name}", "a zip archive", info.compress_size)
            return io.BufferedReader(stream, BLOCK), info.compress_size
    except KeyError:
        raise InputMissing(f"'{file}' has no file '{name}'; it has {listing(members(file))}") from None
    except (*FAULTS, NotImplementedError) as error:
        raise damaged_archive(str(file), "a zip archive", error) from None


def open_text(path: Path, codec: str, newline: str | None = None, *, errors: str = "strict") -> IO[str]:
    """The text of a file, unpacked if it is compressed. Raises what `open_bytes` raises."""
    handle = open_bytes(path)
    if isinstance(getattr(handle, "raw", None), io.FileIO):  # not compressed
        handle.close()
        return open(path, encoding=codec, newline=newline, errors=errors)
    return io.TextIOWrapper(handle, encoding=codec, newline=newline, errors=errors)


def is_archive(file: Path) -> bool:
    """Whether a file is called a zip archive."""
    return file.suffix.lower() == ARCHIVE


def members(file: Path) -> list[str]:
    """The files of a zip archive, without folders and what macOS adds. Raises DataError for a damaged archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except FAULTS as error:
        raise damaged_archive(str(file), "a zip archive", error) from None
    return [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)]


def with_member(file: Path) -> Path:
    """The path of the only table of a zip archive, with its name after #.

    Raises:
        DataError: There are several, whose names it lists, or none.
    """
    names = members(file)
    tables = [name for name in names if not PurePosixPath(name).name.lower().startswith(ABOUT)] or names
    tables = [name for name in tables if is_known(name)] or tables
    if not tables:
        raise DataError(f"'{file}' has no files")
    if len(tables) > 1:
        raise DataError(f"'{file}' has {len(tables)} files: {listing(tables)}", f"Name one, such as '{file}#{tables[0]}'")
    return Path(f"{file}#{tables[0]}")


def inner_name(path: Path) -> str:
    """The name whose ending is that of the table: of a member of an archive its own."""
    file, part = split_part(path)
    return part if part and is_archive(file) else str(file)
