"""Reads files, folders of splits and Hub data sets into tables of rows with line numbers.

Text formats are read by the standard library and not by `datasets`: a rejected row needs its line number and reason, "NA" and
"null" must stay text, and any file must stream. Hub data sets and their folders are read by `datasets`.
"""

import codecs
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from hftool.data.readers.class_folders import COLUMNS, class_folders, read_texts, split_folders, unlabeled_folders
from hftool.data.readers.containers import inner_name, is_archive, open_bytes, open_text, split_part, with_member
from hftool.data.readers.databases import is_database_url, without_sqlite_url
from hftool.data.readers.encoding import check_encoding, find_codec
from hftool.data.readers.formats import (
    AS_FOUND,
    COMPRESSED,
    FORMATS,
    ReadOptions,
    chosen_form,
    ending_of,
    file_format,
    is_known,
)
from hftool.data.readers.parallel_files import column_names, parallel_files, parallel_splits, read_pairs
from hftool.data.readers.parquet_arrow import SHARD, check_shards, saved_splits
from hftool.data.readers.plain_text import begins_with_labels, is_conll, sniff_format
from hftool.errors import DataError, HftoolError, InputMissing, Refused, UsageError, brief, listing
from hftool.machine import collection_paused
from hftool.registry.formats import AUTO, folder_format, get_format, signed_format

Row = dict[str, Any]
Rows = Sequence[Row]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "dev_matched", "validation_matched"),  # of MNLI
    "test": ("test", "test_matched"),
}
SIGNATURE_BYTES = 64
SHARDS = re.compile(r"-\*-of-\d+$")  # the end of a stem for all shards of a split: train-*-of-00002
BINARY = ("parquet", "arrow", "workbook", "sqlite")  # formats that are read by position, and not as a stream of bytes
EXTERNAL_PATH = re.compile(r"://|^[/~].|(^|[/\\])\.\.([/\\]|$)")  # a URL, or a path out of the folder


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used: its line number from 1, the reason, and the raw content."""

    row: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Record:
    """A row and its line number (in Parquet and JSON its position), from 1."""

    number: int
    row: Row
    document: Any = None  # of an annotation project: the `annotations.documents.Document`


@dataclass(frozen=True)
class Source:
    """A file to read; readers add to `rejected` and to the notices `notes`. targets: whether labels and tags are wanted."""

    path: Path
    options: ReadOptions
    rejected: list[Rejected]
    notes: list[str]
    targets: bool = True
    form: str = ""  # the name of the format of the file, or of the form of its rows
    name: str = ""  # as given; a path loses one of two slashes in a query

    def codec(self) -> str:
        """The codec of a text file. Raises what `check_encoding` raises."""
        return check_encoding(self.path, self.options.encoding, self.notes)


class OpenTable(NamedTuple):
    """An open file: its columns, () if only the rows have them, and its records."""

    columns: tuple[str, ...]
    records: Iterator[Record]
    label_names: Mapping[str, tuple[str, ...]] = {}
    lines: bool = False  # of running text


@dataclass
class Table:
    """The rows of one split in memory."""

    split: str
    path: str
    columns: tuple[str, ...]
    rows: list[Row]
    numbers: list[int]  # line number of each row
    rejected: list[Rejected] = field(default_factory=list)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # in id order, if the source has them
    lines: bool = False  # whether each row is a line of running text, as in .txt
    notes: list[str] = field(default_factory=list)  # notices on how the file was read
    contents: Any = field(default=None, init=False, repr=False, compare=False)  # see `column_contents.contents_of`


@collection_paused()
def read_table(path: str | Path, split: str, options: ReadOptions = AS_FOUND) -> Table:
    """Read a whole file, or all shards of a name such as train-*-of-00002.parquet.

    Raises:
        InputMissing: There is no such file.
        UsageError: The ending, the format or the encoding is unknown.
        DataError: The file is damaged, in another encoding, or has no rows.
    """
    rejected: list[Rejected] = []
    notes: list[str] = []
    opened = _open(path, options, rejected, notes)
    rows, numbers = [], []
    for record in opened.records:
        rows.append(record.row)
        numbers.append(record.number)
    if not rows and rejected:
        first = rejected[0]
        raise DataError(f"'{path}': none of {len(rejected)} rows can be read; the first is line {first.row}: {first.reason}")
    if not rows:
        raise DataError(f"'{path}' has a header but no rows" if opened.columns else f"'{path}' has no rows")
    columns = opened.columns or tuple(dict.fromkeys(key for row in rows for key in row))
    names, lines = dict(opened.label_names), opened.lines
    return Table(split, str(path), columns, rows, numbers, rejected, names, lines=lines, notes=notes)


def stream(
    path: str | Path,
    options: ReadOptions = AS_FOUND,
    *,
    rejected: list[Rejected],
    notes: list[str] | None = None,
    targets: bool = False,
) -> tuple[tuple[str, ...], Iterator[Record]]:
    """As `read_table`, but lazily, and in bounded memory except for a .json file -> (columns, records).

    Spans become tags only with `targets`. The columns are () if only the rows have them. Rejected rows and notices are added to
    `rejected` and `notes`, the last notices with the first record.
    """
    return _open(path, options, rejected, [] if notes is None else notes, targets=targets)[:2]


def _open(
    path: str | Path, options: ReadOptions, rejected: list[Rejected], notes: list[str], *, targets: bool = True
) -> OpenTable:
    name = without_sqlite_url(str(path))
    source = Source(Path(name), options, rejected, notes, targets, name=name)
    if is_database_url(name):
        return _read("sqlite", source)
    pair = parallel_files(name)
    if pair is not None:
        return _open_pairs(name, pair, options, notes)
    path = Path(name)
    if class_folders(path):
        return OpenTable(COLUMNS, _stream_texts(source))
    files = shard_files(path)
    if files != [path]:
        parts = [_open(file, options, rejected, notes, targets=targets) for file in files]
        other = next((part for part in parts if set(part.columns) != set(parts[0].columns)), None)
        if other is not None:
            raise DataError(f"the files of '{path}' have other columns: {listing(parts[0].columns)}; {listing(other.columns)}")
        whole = (record for part in parts for record in part.records)
        records = (replace(record, number=number) for number, record in enumerate(whole, start=1))
        return OpenTable(parts[0].columns, records, parts[0].label_names, parts[0].lines)
    path, kind, found = _check_file(path, options)
    if found != options:
        notes.append(f"'{path}' is read as {get_format(found.format).title}, by its content; --format decides")
    return _read(kind, replace(source, path=path, options=found, form=kind))


def _open_pairs(name: str, pair: tuple[Path, Path], options: ReadOptions, notes: list[str]) -> OpenTable:
    """Two files of translations, with a column for each."""
    columns = column_names(name)
    lines = read_pairs(pair, lambda file: check_encoding(file, options.encoding, notes))
    records = (Record(number, dict(zip(columns, texts, strict=True))) for number, texts in enumerate(lines, start=1))
    return OpenTable(columns, records)


def _stream_texts(source: Source) -> Iterator[Record]:
    """The texts of a folder of classes."""
    left_out = unlabeled_folders(source.path)
    source.notes.extend(f"'{source.path / name}' has texts without a class and is left out" for name in left_out)
    for number, (path, text, reason) in enumerate(read_texts(source.path, source.options.encoding), start=1):
        file = path.relative_to(source.path).as_posix()
        if reason:
            source.rejected.append(Rejected(number, reason, file))
        else:
            yield Record(number, {"text": text, "label": path.parent.name, "file": file})


def _read(kind: str, source: Source) -> OpenTable:
    opened: OpenTable = get_format(kind).load_reader()(source)
    return opened


def shard_files(path: Path) -> list[Path]:
    """The files of a path: itself, or the shards of train-*-of-00002.parquet in order. Raises DataError if some are missing."""
    if not SHARDS.search(path.name.split(".")[0]) or path.exists():
        return [path]
    found = sorted(path.parent.glob(path.name))
    check_shards(found)
    return found or [path]


def disk_files(name: str | Path) -> list[Path]:
    """The files on disk that a name is read from, none of a database on a server; what it has after # is a part of one."""
    name = without_sqlite_url(str(name))
    if is_database_url(name):
        return []
    if (pair := parallel_files(name)) is not None:
        return list(pair)
    file, _ = split_part(name)
    return shard_files(file) if folder_format(file) is None else [path for path in sorted(file.iterdir()) if path.is_file()]


def is_running_text(name: str | Path, options: ReadOptions = AS_FOUND) -> bool:
    """Whether what a name stands for is a file of text. Raises what `read_table` raises."""
    name = without_sqlite_url(str(name))
    if is_database_url(name) or parallel_files(name) or Path(name).is_dir():
        return False
    _, kind, found = _check_file(Path(name), options)
    return kind == "txt" and chosen_form(found) is None


def _check_file(path: Path, options: ReadOptions) -> tuple[Path, str, ReadOptions]:
    """A path, with the name of its table if it is an archive, its format, and the options with what its content says.

    The file exists and is not empty. Raises what `read_table` raises.
    """
    file, part = split_part(path)
    try:
        if (folder := folder_format(file)) is not None:
            return path, folder.name, options
        if file.is_dir():
            raise InputMissing(f"'{path}' is a folder, not a file")
        if not file.is_file():
            raise InputMissing(f"there is no file '{file}'")
        if is_archive(file) and not part:
            path = with_member(file)
        options = _recognized(path, options)
        kind = file_format(inner_name(path), options)
        with open(file, "rb") if kind in BINARY else open_bytes(path) as handle:
            empty = not handle.read(1)
    except OSError as error:  # no permission, or a name that is too long
        raise InputMissing(f"'{path}' cannot be read: {error.strerror}") from None
    if empty:
        raise DataError(f"'{path}' is empty")
    if kind in BINARY and (is_archive(file) or file.suffix.lower() in COMPRESSED):
        raise DataError(f"'{path}' is compressed, and its format is not read from an archive", "Unpack it first")
    return path, kind, options


def _recognized(path: Path, options: ReadOptions) -> ReadOptions:
    """The options, with the format of the content where the ending says nothing, TSV of a CoNLL file, or text of fastText's."""
    name = inner_name(path)
    if options.format != AUTO or FORMATS.get(ending_of(name)) in BINARY:
        return options
    with open_bytes(path) as data:
        signed = signed_format(data.read(SIGNATURE_BYTES).removeprefix(codecs.BOM_UTF8))
    if signed is not None:
        return replace(options, format=signed.name)
    if is_known(name) and ending_of(name) not in (".tsv", ".txt"):
        return options
    with open_text(path, find_codec(options.encoding or "utf-8-sig"), errors="replace") as handle:
        if ending_of(name) == ".txt":
            return replace(options, format="fasttext") if begins_with_labels(handle) else options
        if is_known(name):
            return replace(options, format="conll") if is_conll(handle) else options
        return replace(options, format=sniff_format(handle) or AUTO)


def split_files(folder: Path) -> dict[str, Path]:
    """Split -> file of a folder, by names such as train.csv, dev.tsv, train-00000-of-00001.parquet; or folders of classes.

    Several shards of a split, and those of a folder of `save_to_disk`, are one path such as train-*-of-00002.parquet.

    Raises:
        DataError: There are no such files, or two of one split.
    """
    found: dict[str, Path] = {}
    saved = {name: paths for name, paths in saved_splits(folder).items() if _split_of(name)}
    files = [path for paths in saved.values() for path in paths] if saved else sorted(folder.iterdir())
    bare = not any(is_known(path) and _split_of(path.name.split(".")[0]) for path in files)  # train and dev, as WikiANN's
    for path in files:
        stem = SHARD.sub("", path.name.split(".")[0].lower())
        split = _split_of(next((name for name, paths in saved.items() if path in paths), stem))
        is_data = is_known(path) or (path.suffix == "" and bare) if path.is_file() else folder_format(path) is not None
        if split is None or not is_data:
            continue
        whole = _shards_of(path)
        if found.setdefault(split, whole) != whole:
            what = f"'{folder}' has two files for {split}: '{found[split].name}' and '{whole.name}'"
            raise DataError(what, f"Name one with --{split}")
    if not found:
        others = split_folders(folder) | parallel_splits(folder)
        found = {split: path for name, path in others.items() if (split := _split_of(name))}
        found = found or ({"train": folder} if class_folders(folder) else {})
    if not found:
        endings = " ".join(FORMATS)
        raise DataError(f"'{folder}' has no files called train, validation or test with one of the endings {endings}")
    return found


def _split_of(name: str) -> str | None:
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def _shards_of(path: Path) -> Path:
    """A file, or the pattern of all shards: train-00000-of-00002.parquet -> train-*-of-00002.parquet."""
    stem, dot, ending = path.name.partition(".")
    found = SHARD.search(stem)
    if found is None or int(found[2]) < 2:
        return path
    return path.with_name(f"{SHARD.sub('', stem)}-*-of-{found[2]}{dot}{ending}")


def read_hub_folder(folder: Path, name: str, splits: Iterable[str], *, config: str = "") -> dict[str, Table]:
    """Read those of `splits` that a downloaded data set has, with its class names, by `datasets`.

    Raises:
        DataError: `datasets` cannot read it.
        UsageError: The configuration is unknown or missing; the message lists them.
        Refused: Its README names files outside of the folder.
    """
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # do not log a README without metadata
    try:
        _check_readme(folder, name)
        known = datasets.get_dataset_config_names(str(folder))
        if config not in known and (config or (len(known) > 1 and "default" not in known)):
            what = f"no configuration '{config}'" if config else "several configurations"
            what = f"the data set {name} has {what}; it has {listing(known)}"
            raise UsageError(what, f"Try {name.partition(':')[0]}:{known[0]}")
        loaded = datasets.load_dataset(str(folder), config or None)
    except HftoolError:
        raise
    except Exception as error:  # a dozen classes, most of them from datasets
        raise DataError(f"the data set {name} cannot be read: {brief(error, 300)}") from error
    return {split: dataset_table(loaded[split], f"{name}:{split}", split) for split in splits if split in loaded}


def _check_readme(folder: Path, name: str) -> None:
    """Raise Refused for a README that names files elsewhere: `datasets` opens any local path and any URL, even offline."""
    import yaml
    from huggingface_hub import DatasetCard

    readme, extra = folder / "README.md", folder / ".huggingface.yaml"
    pending: list[Any] = []
    if readme.is_file():
        pending.append(DatasetCard(readme.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("configs"))
    if extra.is_file():
        pending.append(yaml.safe_load(extra.read_text(encoding="utf-8")))
    while pending:
        item = pending.pop()
        if isinstance(item, (list, dict)):
            pending.extend(item.values() if isinstance(item, dict) else item)
        elif isinstance(item, str) and EXTERNAL_PATH.search(item):
            what = f"the data set {name} names a file outside of its folder, '{item}'"
            raise Refused(what, "Download that file yourself if you trust it, and name it with --train FILE")


def dataset_table(data: Any, path: str, split: str) -> Table:
    """A datasets.Dataset as a table, with its class names."""
    kinds = {key: getattr(kind, "feature", kind) for key, kind in data.features.items()}  # of a list: its item
    names = {key: tuple(kind.names) for key, kind in kinds.items() if hasattr(kind, "names")}
    rows = data.with_format("arrow")[:].to_pylist()  # undecoded: an image could be a URL
    return Table(split, path, tuple(data.column_names), rows, list(range(1, len(rows) + 1)), [], names)


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates (from "\\ud83d" in JSON), which neither tokenizers nor files accept."""
    return text if text.isascii() else text.encode("utf-8", errors="replace").decode("utf-8")


def cell_text(value: Any) -> str | None:
    """A cell as a text, None if it is missing. A whole number is 1, not 1.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) else str(value)
