"""Writers of CSV, TSV, JSON Lines, Parquet and npy files: streamed, in order, and atomic."""

import json
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import IO, Any

from hftool.data.readers.formats import FORMATS
from hftool.data.readers.tables import Row, replace_surrogates
from hftool.errors import DataError, UsageError
from hftool.storage.run_folder import whole_file

ROWS_IN_MEMORY = 4096  # rows in memory
OUTPUT_FORMATS = ("csv", "tsv", "jsonl", "parquet")
ARRAY = ".npy"  # for embeddings only
SURROGATE = re.compile("[\ud800-\udfff]")
NEEDS_QUOTES = re.compile('[,"\r\n]')


def output_format(path: str | Path) -> str:
    """The format of an output file by its ending. Raises UsageError for any other ending."""
    if Path(path).suffix.lower() == ARRAY:
        return "npy"
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind not in OUTPUT_FORMATS:
        what = f"cannot write '{path}'" if kind else f"'{path}' has an unknown ending"
        raise UsageError(what, "Use .csv, .tsv, .jsonl or .parquet")
    return kind


def write_rows(path: Path, rows: Iterable[Row], *, overwrite: bool = False, kind: str = "") -> int:
    """Write rows in the format of the file's ending, or of `kind` -> their number.

    CSV and TSV have the columns of the first 4096 rows.

    Raises:
        UsageError: Unknown ending.
        DataError: A later row of CSV or TSV has a new column.
        OutputUnavailable: The file exists or cannot be created.
        StorageError: The disk is full.
    """
    writers: dict[str, Callable[[IO[Any], Iterable[Row]], int]] = {
        "csv": lambda handle, it: _write_delimited(handle, it, ","),
        "tsv": lambda handle, it: _write_delimited(handle, it, "\t"),
        "json": _write_list,
        "jsonl": write_lines,
        "parquet": _write_parquet,
        "npy": _write_vectors,
    }
    kind = kind or output_format(path)
    with whole_file(path, binary=kind in ("parquet", "npy"), overwrite=overwrite) as handle:
        return writers[kind](handle, rows)


def write_lines(handle: IO[str], rows: Iterable[Row]) -> int:
    """Write rows as JSON Lines to an open file or stdout; NaN and Infinity become null -> the number of rows."""
    count = 0
    for line in map(_json_line, rows):
        handle.write(line + "\n")
        count += 1
    return count


def _write_list(handle: IO[str], rows: Iterable[Row]) -> int:
    """Write rows as one JSON list, a row a line -> the number of rows."""
    count = 0
    for line in map(_json_line, rows):
        handle.write((",\n" if count else "[\n") + line)
        count += 1
    handle.write("\n]\n" if count else "[]\n")
    return count


def _json_line(row: Row) -> str:
    """A row as JSON on one line."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        finite = json.loads(json.dumps(row, default=str), parse_constant=lambda _: None)
        line = json.dumps(finite, ensure_ascii=False)
    if not line.isascii() and SURROGATE.search(line):  # a lone surrogate cannot be encoded, but JSON can escape it
        line = SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
    return line


def _write_vectors(handle: IO[bytes], rows: Iterable[Row]) -> int:
    """The column `embedding` as one array (N, H) of float32, as np.save writes it; a row without one is NaN.

    The header has the number of rows and is written again at the end: numpy leaves room for its digits.
    """
    import numpy as np

    source = (row.get("embedding") for row in rows)
    count, first = next(((i, vector) for i, vector in enumerate(source) if vector is not None), (0, ()))
    if not len(first):
        raise UsageError("an .npy file holds embeddings, and this head returns none", "Write .jsonl, .csv, .tsv or .parquet")
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    np.lib.format.write_array_header_1_0(handle, header | {"shape": (0, len(first))})
    blank = [math.nan] * len(first)
    vectors = chain(repeat(None, count), [first], source)
    count = 0
    while block := list(islice(vectors, ROWS_IN_MEMORY)):
        handle.write(np.array([blank if vector is None else vector for vector in block], np.float32).tobytes())
        count += len(block)
    handle.seek(0)
    np.lib.format.write_array_header_1_0(handle, header | {"shape": (count, len(first))})
    return count


def _cell(value: Any) -> str:
    """The text of a cell; lists and objects as JSON."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, tuple, dict)) else str(value)
    return replace_surrogates(text)


def _write_delimited(handle: IO[str], rows: Iterable[Row], delimiter: str) -> int:
    """CSV is quoted; in TSV a tab or a line end inside a cell becomes a space."""
    write_line = _tsv_line if delimiter == "\t" else _csv_line
    source = iter(rows)
    block = list(islice(source, ROWS_IN_MEMORY))
    columns = list(dict.fromkeys(column for row in block for column in row))
    if block:
        handle.write(write_line([_cell(column) for column in columns]))
    count = 0
    for row in chain(block, source):
        count += 1
        more = [column for column in row if column not in columns] if len(row) != len(columns) or count > ROWS_IN_MEMORY else []
        if more:
            what = f"row {count} has the column '{more[0]}', which the first {len(block)} rows lack"
            raise DataError(what, "Write .jsonl or .parquet")
        handle.write(write_line([_cell(row.get(column)) for column in columns]))
    return count


def _tsv_line(cells: Sequence[str]) -> str:
    return "\t".join(" ".join(cell.replace("\t", " ").splitlines()) for cell in cells) + "\n"


def _csv_line(cells: Sequence[str]) -> str:
    """As csv.writer, but that leaves a carriage return unquoted if lines end in a line feed."""
    quoted = ['"' + cell.replace('"', '""') + '"' if NEEDS_QUOTES.search(cell) else cell for cell in cells]
    return (",".join(quoted) if quoted != [""] else '""') + "\n"


def _write_parquet(handle: IO[bytes], rows: Iterable[Row]) -> int:
    """Blocks wait in a temporary file: the type of a column may show late, after a block of None only."""
    import pyarrow
    import pyarrow.parquet

    source = iter(rows)
    schema = pyarrow.schema([])
    count = 0
    with tempfile.TemporaryFile(dir=Path(handle.name).parent) as spill:
        while block := list(islice(source, ROWS_IN_MEMORY)):
            count += len(block)
            table = _table(block)
            schema = _common_schema(schema, table.schema)
            with pyarrow.ipc.new_stream(spill, table.schema) as stream:
                stream.write_table(table)
        spill.seek(0)
        with pyarrow.parquet.ParquetWriter(handle, schema) as writer:
            for _ in range(0, count, ROWS_IN_MEMORY):
                writer.write_table(_as_schema(pyarrow.ipc.open_stream(spill).read_all(), schema))
    return count


def _table(block: list[Row]) -> Any:
    import pyarrow

    columns = dict.fromkeys(column for row in block for column in row)
    return pyarrow.table({replace_surrogates(column): _array([row.get(column) for row in block]) for column in columns})


def _array(values: list[Any]) -> Any:
    """Values of one type unchanged; of several types, or with lone surrogates, as texts."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return pyarrow.array([None if value is None else _cell(value) for value in values], pyarrow.string())


def _common_schema(one: Any, other: Any) -> Any:
    """The columns of both; of incompatible types, text."""
    import pyarrow

    fields = {field.name: field for field in one}
    for field in other:
        try:
            pair = [pyarrow.schema([fields.get(field.name, field)]), pyarrow.schema([field])]
            fields[field.name] = pyarrow.unify_schemas(pair, promote_options="permissive").field(0)
        except pyarrow.ArrowException:
            fields[field.name] = pyarrow.field(field.name, pyarrow.string())
    return pyarrow.schema(fields.values())


def _as_schema(table: Any, schema: Any) -> Any:
    import pyarrow

    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pyarrow.nulls(len(table), field.type))
        elif field.type == pyarrow.string() != table.column(field.name).type:
            values = table.column(field.name).to_pylist()
            columns.append(pyarrow.array([None if value is None else _cell(value) for value in values], field.type))
        else:
            columns.append(table.column(field.name).cast(field.type))
    return pyarrow.table(columns, schema=schema)
