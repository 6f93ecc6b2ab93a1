"""Two files of translations, line by line, named together as train.{en,de}: Moses' form; a folder of train.en and train.de."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from hftool.data.readers.containers import open_text
from hftool.data.readers.formats import COMPRESSED
from hftool.errors import DataError, InputMissing

BRACES = re.compile(r"(.*)\{([^{},]+),([^{},]+)\}(.*)", re.DOTALL)
LANGUAGE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")  # en, zh-Hans, pt_BR


def parallel_files(name: str | Path) -> tuple[Path, Path] | None:
    """The two files of a name such as train.{en,de}; None for any other name, and for a file that is called so."""
    found = BRACES.fullmatch(str(name))
    if found is None or os.path.exists(name):  # noqa: PTH110 - Path raises OSError for a name that is too long
        return None
    before, first, second, after = found.groups()
    return Path(f"{before}{first}{after}"), Path(f"{before}{second}{after}")


def column_names(name: str | Path) -> tuple[str, str]:
    """The columns of two files: what differs in their names, the language of a.en and b.de."""
    found = BRACES.fullmatch(str(name))
    assert found is not None
    first, second = found[2], found[3]
    endings = first.rpartition(".")[2], second.rpartition(".")[2]
    stems = Path(first).stem, Path(second).stem
    return endings if endings[0] != endings[1] else stems if stems[0] != stems[1] else (first, second)


def read_pairs(files: tuple[Path, Path], codec_of: Callable[[Path], str]) -> Iterator[tuple[str, str]]:
    """The lines of two files side by side.

    Raises:
        InputMissing: There is no such file.
        DataError: One has more lines than the other, or cannot be decoded.
    """
    for file in files:
        if not file.is_file():
            raise InputMissing(f"there is no file '{file}'", "The names of two files stand in braces: 'train.{en,de}'")
    codecs = [codec_of(file) for file in files]

    def _lines() -> Iterator[tuple[str, str]]:
        with open_text(files[0], codecs[0]) as one, open_text(files[1], codecs[1]) as other:
            for number, (first, second) in enumerate(itertools.zip_longest(one, other), start=1):
                if first is None or second is None:
                    short, long = files if first is None else files[::-1]
                    what = f"'{short}' ends after {number - 1} lines, and '{long}' has more"
                    raise DataError(what, "Line by line, two files are translations of each other")
                yield first.removesuffix("\n"), second.removesuffix("\n")

    return _lines()


def parallel_splits(folder: Path) -> dict[str, Path]:
    """Stem -> the name in braces of two files that differ in their languages only, such as train.en and train.de."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(folder.iterdir()):
        packed = path.suffix if path.suffix in COMPRESSED else ""
        stem, _, language = path.name.removesuffix(packed).rpartition(".")
        if path.is_file() and stem and LANGUAGE.fullmatch(language):
            found.setdefault(stem, []).append((language, packed))
    return {
        stem.lower(): folder / f"{stem}.{{{pairs[0][0]},{pairs[1][0]}}}{pairs[0][1]}"
        for stem, pairs in found.items()
        if len(pairs) == 2 and pairs[0][1] == pairs[1][1]
    }
