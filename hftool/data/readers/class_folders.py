"""Folders of classes, with a text in each file (pos/0.txt, neg/1.txt; sci.space/59497), to rows of text, label and file."""

import os
from collections.abc import Iterator
from pathlib import Path

from hftool.data.readers.encoding import find_codec
from hftool.data.readers.encoding_detection import certain_encoding
from hftool.data.readers.formats import is_known

MAX_LOOKED_AT = 50  # files of a class that are looked at
START = 1024  # bytes of a file that are looked at: images and programs have a NUL there
UNLABELED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
COLUMNS = ("text", "label", "file")


def class_folders(folder: Path) -> list[Path]:
    """The classes of a folder: its folders, if there are several and each has texts; [] for any other folder."""
    if not os.path.isdir(folder):  # noqa: PTH112 - Path raises OSError for a name that is too long
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    inside = [path for path in inside if path.name.lower() not in UNLABELED]
    return inside if len(inside) > 1 and all(map(_has_texts, inside)) else []


def unlabeled_folders(folder: Path) -> list[str]:
    """The names of the folders of texts without a class."""
    return [path.name for path in folder.iterdir() if path.is_dir() and path.name.lower() in UNLABELED]


def split_folders(folder: Path) -> dict[str, Path]:
    """Ending -> folder of classes, of each folder inside that has them: train of 20news-bydate-train, in lower case."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and class_folders(path)]
    return {path.name.lower().replace("_", "-").rpartition("-")[2]: path for path in inside}


def _has_texts(folder: Path) -> bool:
    files = [path for path, _ in zip(_files(folder), range(MAX_LOOKED_AT), strict=False)]
    if not files or any(is_known(path) and path.suffix.lower() != ".txt" for path in files):
        return False
    return not any(b"\0" in _start(path) for path in files)


def _start(path: Path) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(START)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def read_texts(folder: Path, encoding: str | None) -> Iterator[tuple[Path, str, str]]:
    """Yield (file, text, "") or (file, "", reason), class by class, by name.

    Each file is in the user's `encoding`, or in UTF-8 or another that is certain. Raises UsageError for an unknown encoding.
    """
    codec = find_codec(encoding or "utf-8")
    for inside in class_folders(folder):
        for path in sorted(_files(inside)):
            data = path.read_bytes()
            try:
                yield path, data.decode("utf-8-sig" if codec == "utf-8" else codec), ""
            except UnicodeDecodeError as error:
                certain = None if encoding else certain_encoding(path)
                if certain is None:
                    hint = "" if encoding else "; --encoding latin-1 reads any byte"
                    yield path, "", f"'{path}' is not {codec.upper()}: byte {error.start} cannot be read{hint}"
                else:
                    yield path, data.decode(certain), ""
