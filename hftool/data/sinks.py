"""Rows to files: CSV, TSV, JSON Lines and Parquet, streamed, in order, whole or not at all."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from hftool.data.sources import Row, file_format
from hftool.errors import UsageError
from hftool.run import whole_file

PARQUET_ROWS = 4096  # rows held before a row group is written


def check_ending(path: str | Path) -> str:
    """The format of an output file by its ending. Raises UsageError that lists the endings."""
    kind = file_format(path)
    if kind == "json":
        raise UsageError(f"cannot write '{path}'", "Use .csv, .tsv, .jsonl or .parquet")
    return kind


def write_rows(path: Path, rows: Iterable[Row], *, overwrite: bool = False) -> int:
    """Write rows as the file's ending says and return how many. The first row names the columns.

    Raises UsageError (ending), OutputUnavailable (exists, cannot be created), StorageError (disk full).
    """
    writers: dict[str, Callable[[IO[Any], Iterable[Row]], int]] = {
        "csv": lambda handle, it: _write_delimited(handle, it, ","),
        "tsv": lambda handle, it: _write_delimited(handle, it, "\t"),
        "jsonl": write_lines,
        "parquet": _write_parquet,
    }
    kind = check_ending(path)
    with whole_file(path, binary=kind == "parquet", overwrite=overwrite) as handle:
        return writers[kind](handle, rows)


def write_lines(handle: IO[str], rows: Iterable[Row]) -> int:
    """Write rows as JSON Lines to an open file or stdout."""
    count = 0
    for row in rows:
        handle.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        count += 1
    return count


def _write_delimited(handle: IO[str], rows: Iterable[Row], delimiter: str) -> int:
    """CSV quotes. TSV has no quoting: a tab or a line end inside a cell becomes a space."""
    plain = delimiter == "\t"
    writer = csv.writer(handle, lineterminator="\n")
    columns: Sequence[str] = ()
    count = 0
    for row in rows:
        header = not columns
        columns = columns or list(row)
        for cells in ([columns] if header else []) + [["" if row.get(c) is None else str(row[c]) for c in columns]]:
            if plain:
                handle.write("\t".join(" ".join(cell.replace("\t", " ").splitlines()) for cell in cells) + "\n")
            else:
                writer.writerow(cells)
        count += 1
    return count


def _write_parquet(handle: IO[bytes], rows: Iterable[Row]) -> int:
    import pyarrow
    import pyarrow.parquet

    writer = None
    count = 0
    block: list[Row] = []

    def flush() -> None:
        nonlocal writer, block
        table = pyarrow.Table.from_pylist(block, schema=writer.schema if writer else None)
        writer = writer or pyarrow.parquet.ParquetWriter(handle, table.schema)
        writer.write_table(table)
        block = []

    for row in rows:
        block.append(row)
        count += 1
        if len(block) == PARQUET_ROWS:
            flush()
    if block:
        flush()
    if writer:
        writer.close()
    return count
