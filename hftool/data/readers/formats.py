"""How a data file is read: by its ending and content, or as the user says."""

from dataclasses import dataclass
from pathlib import Path

from hftool.errors import UsageError
from hftool.registry import formats
from hftool.registry.formats import AUTO, FileFormat, get_format

FORMATS = {ending: row.name for row in formats.FORMATS for ending in row.endings}  # ending -> format of files
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
ARCHIVE = ".zip"


@dataclass(frozen=True)
class ReadOptions:
    """What the user says on how data files are read.

    Attributes:
        encoding: Encoding of text files; None is UTF-8, or another that is certain.
        format: A name of `registry.formats`; "auto" is by ending and content.
    """

    encoding: str | None = None
    format: str = AUTO


AS_FOUND = ReadOptions()


def file_format(path: str | Path, options: ReadOptions = AS_FOUND) -> str:
    """The format of a file: the one chosen, or that of its ending, a value of FORMATS.

    Raises:
        UsageError: The ending is unknown, or there is no such format.
    """
    chosen = None if options.format == AUTO else get_format(options.format)
    suffix = ending_of(path)
    if chosen is not None and not chosen.containers:
        return chosen.name
    if chosen is not None and FORMATS.get(suffix) not in chosen.containers:
        return chosen.containers[0]
    if suffix not in FORMATS:
        raise UsageError(f"'{path}' has an unknown ending", "Use one of " + " ".join(FORMATS) + ", or name its --format")
    return FORMATS[suffix]


def chosen_form(options: ReadOptions) -> FileFormat | None:
    """The form that the user chose; None for a format of files, or where content decides."""
    row = None if options.format == AUTO else get_format(options.format)
    return row if row and row.containers else None


def ending_of(path: str | Path) -> str:
    """The ending of a file in lower case, that of its table if it is compressed: .csv of Train.csv.gz."""
    path = Path(path)
    return Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()


def is_known(path: str | Path) -> bool:
    """Whether the ending of a file is that of data."""
    return ending_of(path) in (*FORMATS, ARCHIVE)
