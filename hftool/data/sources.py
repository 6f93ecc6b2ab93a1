"""Files to rows: CSV, TSV, JSON, JSON Lines, Parquet, and folders with a file for each split.

Text formats are read by the standard library and not by `datasets`: a row that cannot be used must be named with its
line and its reason, "NA" and "null" must stay text, and any size of file must stream. Hub data sets and their
folders are read by `datasets`.
"""

import codecs
import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import DataError, InputMissing, UsageError

Row = dict[str, Any]

FORMATS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
BLOCK = 1 << 20  # bytes read at a time
MAX_FIELD = 2**31 - 1  # characters; the csv module's own limit of 131,072 is too short for documents


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used: where it begins (1 is the first line of the file), why, and what was there."""

    row: int
    reason: str
    raw: str

    def as_dict(self) -> dict[str, Any]:
        """For rejected.jsonl."""
        return {"row": self.row, "reason": self.reason, "raw": self.raw}


@dataclass(frozen=True)
class Record:
    """A row and the line on which it begins (in Parquet and JSON: its position, counted from 1)."""

    number: int
    row: Row


@dataclass
class Table:
    """The rows of one split in memory. `numbers[i]` is the line of `rows[i]`; `label_names` is set when the source
    itself names the classes, in id order."""

    split: str
    path: str
    columns: tuple[str, ...]
    rows: list[Row]
    numbers: list[int]
    rejected: list[Rejected] = field(default_factory=list)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def keep(self, indices: Iterable[int]) -> "Table":
        """The table with only these rows, in this order."""
        chosen = list(indices)
        return Table(
            self.split,
            self.path,
            self.columns,
            [self.rows[i] for i in chosen],
            [self.numbers[i] for i in chosen],
            self.rejected,
            self.label_names,
        )


def file_format(path: str | Path) -> str:
    """csv, tsv, json, jsonl or parquet, by the file's ending. Raises UsageError that lists the endings."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"'{path}' has no ending that says what it is", "Use one of " + " ".join(FORMATS))
    return FORMATS[suffix]


def read_table(path: str | Path, split: str, *, encoding: str | None = None) -> Table:
    """Read a whole file. Raises InputMissing, UsageError, or DataError when it has no rows."""
    rejected: list[Rejected] = []
    columns, records = stream(path, encoding=encoding, rejected=rejected)
    rows, numbers = [], []
    for record in records:
        rows.append(record.row)
        numbers.append(record.number)
    if not rows:
        raise DataError(f"'{path}' has a header but no rows" if columns else f"'{path}' has no rows")
    return Table(split, str(path), columns or tuple(dict.fromkeys(key for row in rows for key in row)), rows, numbers, rejected)


def stream(
    path: str | Path, *, encoding: str | None = None, rejected: list[Rejected]
) -> tuple[tuple[str, ...], Iterator[Record]]:
    """Columns and a lazy iterator of records, in bounded memory. Rows that cannot be read are added to `rejected`.

    The columns of JSON Lines are those of its first rows. Raises InputMissing, DataError.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing(f"there is no file '{path}'")
    kind = file_format(path)
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty")
    if kind == "parquet":
        return _stream_parquet(path)
    codec = check_encoding(path, encoding)
    if kind in ("csv", "tsv"):
        return _stream_delimited(path, kind, codec, rejected)
    records = _stream_lines(path, codec, rejected) if kind == "jsonl" else _stream_json(path, codec)
    return (), records


def check_encoding(path: Path, encoding: str | None) -> str:
    """The codec to read a text file with, after a look at every byte of it: never mojibake, never half a file.

    Raises DataError with the byte offset and a guess, UsageError when there is no such encoding.
    """
    try:
        codec = codecs.lookup(encoding or "utf-8").name
    except LookupError:
        raise UsageError(f"unknown encoding '{encoding}'", "Try utf-8, utf-16, gb18030, cp1252, latin-1") from None
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
                return "utf-8-sig" if codec == "utf-8" else codec
            offset += len(block)


def _not_decodable(path: Path, codec: str, offset: int) -> DataError:
    with open(path, "rb") as handle:
        guess = guess_encoding(handle.read(1 << 16))
    return DataError(
        f"'{path}' is not {codec.upper()}: byte {offset} cannot be read; it looks like {guess}", f"Try --encoding {guess}"
    )


def guess_encoding(sample: bytes) -> str:
    """A guess for the hint of an error, from the first bytes of a file that is not UTF-8."""
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if sample[1::2].count(0) > len(sample) // 8:
        return "utf-16-le"
    if sample[::2].count(0) > len(sample) // 8:
        return "utf-16-be"
    text = sample.decode("gbk", errors="ignore")
    han = sum("一" <= letter <= "鿿" for letter in text)
    high = sum(byte >= 0x80 for byte in sample)
    return "gbk" if high and 2 * han > 0.8 * high else "cp1252"


def _delimiter(header: str, kind: str) -> str:
    """The delimiter of a CSV file, by its header: exported files use ; and tab as well."""
    if kind == "tsv":
        return "\t"
    return max(",;\t|", key=header.count) if header.count(",") == 0 else ","


def _stream_delimited(path: Path, kind: str, codec: str, rejected: list[Rejected]) -> tuple[tuple[str, ...], Iterator[Record]]:
    csv.field_size_limit(MAX_FIELD)
    with open(path, encoding=codec, newline="") as handle:
        first = handle.readline()
    delimiter = _delimiter(first, kind)
    # GLUE's TSV files have no quoting: a lone quotation mark in a sentence must stay one
    quoting: Any = csv.QUOTE_NONE if kind == "tsv" else csv.QUOTE_MINIMAL
    header = next(csv.reader([first], delimiter=delimiter, quoting=quoting), [])
    columns = tuple(name.strip() for name in header)
    if not any(columns):
        raise DataError(f"'{path}' has no header: its first line is empty")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"'{path}' has the column '{twice[0]}' more than once", "Rename one of them")
    return columns, _delimited_records(path, codec, columns, delimiter, quoting, rejected)


def _delimited_records(
    path: Path, codec: str, columns: tuple[str, ...], delimiter: str, quoting: Any, rejected: list[Rejected]
) -> Iterator[Record]:
    with open(path, encoding=codec, newline="") as handle:
        reader = csv.reader(handle, delimiter=delimiter, quoting=quoting)
        next(reader)
        start = reader.line_num + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                rejected.append(Rejected(start, str(error), ""))
                start = reader.line_num + 1
                continue
            if len(cells) == len(columns):
                yield Record(start, dict(zip(columns, cells, strict=True)))
            elif cells:
                reason = f"{len(cells)} fields where the header has {len(columns)}"
                rejected.append(Rejected(start, reason, delimiter.join(cells)[:1000]))
            start = reader.line_num + 1


def _stream_lines(path: Path, codec: str, rejected: list[Rejected]) -> Iterator[Record]:
    with open(path, encoding=codec, newline="\n") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                rejected.append(Rejected(number, f"not JSON: {error}", line[:1000]))
                continue
            if isinstance(row, dict):
                yield Record(number, row)
            else:
                rejected.append(Rejected(number, f"a JSON {type(row).__name__}, not an object", line[:1000]))


def _stream_json(path: Path, codec: str) -> Iterator[Record]:
    try:
        loaded = json.loads(path.read_text(encoding=codec))
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not JSON: {error}", "One object a line? Then call it .jsonl") from None
    rows = loaded.get("data") if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"'{path}' must hold a list of objects, or an object with one under \"data\"")
    return (Record(number, row) for number, row in enumerate(rows, start=1))


def _stream_parquet(path: Path) -> tuple[tuple[str, ...], Iterator[Record]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"'{path}' is not a Parquet file: {' '.join(str(error).split())[:160]}") from None

    def records() -> Iterator[Record]:
        number = 0
        for batch in file.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                yield Record(number, row)

    return tuple(file.schema_arrow.names), records()


def split_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by split, found by their names. Raises DataError when there is no train file or two of one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".")[0].lower()
        split = next((s for s, names in SPLIT_NAMES.items() if stem in names), None)
        if split is None or path.suffix.lower() not in FORMATS:
            continue
        if split in found:
            raise DataError(
                f"'{folder}' has two files for {split}: '{found[split].name}' and '{path.name}'", f"Name one with --{split}"
            )
        found[split] = path
    if not found:
        raise DataError(
            f"'{folder}' has no files called train, validation or test with one of the endings " + " ".join(FORMATS)
        )
    return found


def read_hub_folder(folder: Path, name: str, splits: Iterable[str], *, config: str = "") -> dict[str, Table]:
    """The splits of a downloaded data set, read by `datasets` from its folder; class names come with it.

    Raises DataError when `datasets` cannot read it or there is no such configuration.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(str(folder), config or None)
    except Exception as error:  # a dozen classes, most of them datasets' own; what they say is what we can say
        raise DataError(f"the data set {name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    tables = {}
    for split in splits:
        if split in loaded:
            data = loaded[split]
            names = {key: tuple(f.names) for key, f in data.features.items() if isinstance(f, datasets.ClassLabel)}
            rows = data.to_list()
            tables[split] = Table(
                split, f"{name}:{split}", tuple(data.column_names), rows, list(range(1, len(rows) + 1)), [], names
            )
    return tables


def text_of(value: Any) -> str | None:
    """A cell as a text: None when there is none. Numbers are written as they would be in a file: 1, not 1.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) else str(value)
