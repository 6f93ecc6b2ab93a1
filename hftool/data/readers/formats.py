"""How a data file is read: by its ending and content, or as the user says."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hftool.errors import UsageError, did_you_mean
from hftool.registry import formats
from hftool.registry.formats import AUTO, REJECT, FileFormat, get_format

FORMATS = {ending: row.name for row in formats.FORMATS for ending in row.endings}  # ending -> format of files
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
ARCHIVE = ".zip"


@dataclass(frozen=True)
class ReadOptions:
    """What the user says on how data files are read.

    Attributes:
        encoding: Encoding of text files; None is UTF-8, or another that is certain.
        format: A name of `registry.formats`; "auto" is by ending and content.
        partial_words: Of an annotation project: whether a text with a span that covers a word in part is rejected, "reject", or
            the span includes the whole word, "include".
        annotator: Of an annotation project: whose annotations are read; None where all agree.
        no_header: Whether the first line of a table is a row.
        column_names: The names of the columns of a table without a header, separated by commas.
        columns: Role -> column; tokens and tags may be numbers of columns of a CoNLL file, from 1.
    """

    encoding: str | None = None
    format: str = AUTO
    partial_words: str = REJECT
    annotator: str | None = None
    no_header: bool = False
    column_names: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the columns of a table without a header, () if they have none; None for a table with one."""
        if self.column_names is not None:
            return tuple(name.strip() for name in self.column_names.split(","))
        return () if self.no_header else None

    def column_number(self, role: str) -> int | None:
        """The number of the column of a role, from 1; None if a name or nothing is given."""
        column = self.columns.get(role, "")
        return int(column) if column.isdecimal() and int(column) else None

    def for_columns(self, *columns: Mapping[str, str]) -> "ReadOptions":
        """These options with other columns, the last ones first."""
        return replace(self, columns={role: column for known in columns for role, column in known.items()})


AS_FOUND = ReadOptions()


def read_options(encoding: str | None, more: Mapping[str, Any] | None = None) -> ReadOptions:
    """The options of a call, `more` with other fields by name. Raises UsageError for an unknown name."""
    known = [one.name for one in fields(ReadOptions) if one.name != "encoding"]
    for name in more or ():
        if name not in known:
            hint = did_you_mean(name, known, otherwise="One of " + ", ".join(known))
            raise UsageError(f"there is no option '{name}' of reading", hint)
    return ReadOptions(encoding, **(more or {}))


def recorded_options(settings: object) -> ReadOptions:
    """The options of a run, from the fields of its settings of the same names."""
    return ReadOptions(**{one.name: getattr(settings, one.name) for one in fields(ReadOptions)})


def file_format(path: str | Path, options: ReadOptions = AS_FOUND) -> str:
    """The format of a file or of a folder that is one table: the one chosen, or that of its ending, a value of FORMATS.

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
