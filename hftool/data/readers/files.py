"""The readers of the formats of files: each opens a file lazily."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hftool.data.readers.conll import read_conll
from hftool.data.readers.containers import open_text
from hftool.data.readers.csv_tsv import Cells, read_delimited, read_lines
from hftool.data.readers.databases import is_database_url, read_database, read_sqlite
from hftool.data.readers.formats import chosen_form
from hftool.data.readers.forms import SAMPLE_ROWS, find_form, peek
from hftool.data.readers.header_lines import Layout, known_layout, looks_like_row
from hftool.data.readers.parquet_arrow import read_columnar
from hftool.data.readers.tables import OpenTable, Record, Rejected, Source
from hftool.data.readers.tmx import read_tmx
from hftool.data.readers.token_per_row import Numbered, group_words
from hftool.data.readers.workbooks import read_workbook
from hftool.data.tag_sequences import TagPairs
from hftool.errors import DataError

Check = Callable[[Iterator[Numbered]], Iterator[Numbered]]
SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def open_csv(source: Source) -> OpenTable:
    """CSV, by comma, semicolon or tab."""
    return _open_delimited(source, "csv", ",")


def open_tsv(source: Source) -> OpenTable:
    """TSV, quoted or not."""
    return _open_delimited(source, "tsv", "\t")


def open_jsonl(source: Source) -> OpenTable:
    """One JSON object a line."""
    check = partial(_objects, source)
    return _open_rows(source, "jsonl", (), _lines(source, source.codec()), check=check)


def open_json(source: Source) -> OpenTable:
    """A list of objects, or an object with one under "data"; all in memory."""
    path = source.path
    try:
        with open_text(path, source.codec()) as handle:
            loaded = json.load(handle)
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not JSON: {error}", "One object a line? Then call it .jsonl") from None
    rows = loaded.get("data") if isinstance(loaded, dict) else loaded
    items = rows if isinstance(rows, list) else [loaded]
    numbered = (Numbered(number, item) for number, item in enumerate(items, start=1))
    return _open_rows(source, "json", (), numbered, check=lambda found: _json_objects(source, rows, found))


def open_parquet(source: Source) -> OpenTable:
    """Parquet, with the class names in its metadata."""
    return _open_columnar(source, "parquet")


def open_arrow(source: Source) -> OpenTable:
    """Arrow, as a file or as a stream."""
    return _open_columnar(source, "arrow")


def open_workbook(source: Source) -> OpenTable:
    """The sheet after #, else the first, of a workbook."""
    columns, rows = read_workbook(source.path, source.notes, source.options.names)
    return _open_rows(source, "workbook", columns, _with_columns(rows, columns, "\t", source.rejected))


def open_sqlite(source: Source) -> OpenTable:
    """The table or the query after #, else the only table, of an SQLite file, or of a database by its URL."""
    columns, rows = (read_database if is_database_url(source.name) else read_sqlite)(source.name)
    return _open_rows(source, "sqlite", columns, (Numbered(i, row) for i, row in enumerate(rows, start=1)))


def open_tmx(source: Source) -> OpenTable:
    """The units of a translation memory."""
    return OpenTable((), (Record(number, row) for number, row in enumerate(read_tmx(source.path), start=1)))


def open_txt(source: Source) -> OpenTable:
    """Running text, or lines in the form that is chosen."""
    form, rows = chosen_form(source.options), _text_lines(source, source.codec())
    if form is None:
        return OpenTable((), (Record(number, row) for number, row in rows if row is not None), lines=True)
    return OpenTable((), form.load_reader()(rows, source))


def open_conll(source: Source) -> OpenTable:
    """One token and its tags a line."""
    return OpenTable((), _sentences(source, source.codec()))


def _open_delimited(source: Source, kind: str, delimiter: str) -> OpenTable:
    path, codec, names, quoted = source.path, source.codec(), source.options.names, kind == "csv"
    layout = None if names is not None else _layout(path, codec)
    if layout is not None:
        names, quoted, delimiter = layout.columns, False, "\t"
        shown = ", ".join(names)
        source.notes.append(f"'{path}' has no header and is read as {layout.title} table: {shown}; --columns decides")
    if layout is not None and layout.wider:
        narrow = (row._replace(cells=row.cells[: len(layout.columns)]) for row in read_lines(path, codec))
        return _open_rows(source, kind, layout.columns, _with_columns(narrow, layout.columns, delimiter, source.rejected))
    columns, lines = read_delimited(path, quoted=quoted, codec=codec, notes=source.notes, names=names)
    rows = _with_columns(lines, columns, delimiter, source.rejected)
    if names is None:
        sample, rows = peek(rows, SAMPLE_ROWS)
        if looks_like_row(columns, [row for _, row in sample if row is not None]):
            source.notes.append(f"the first line of '{path}' looks like a row: --no-header if it is one")
    return _open_rows(source, kind, columns, rows)


def _layout(path: Path, codec: str) -> Layout | None:
    """The layout of a raw file of a benchmark."""
    with open_text(path, codec) as handle:
        return known_layout(list(itertools.islice(handle, SAMPLE_ROWS)))


def _open_columnar(source: Source, kind: str) -> OpenTable:
    columns, names, rows = read_columnar(source.path, kind)
    return _open_rows(source, kind, columns, (Numbered(i, row) for i, row in enumerate(rows, start=1)), names)


def _open_rows(
    source: Source,
    kind: str,
    columns: tuple[str, ...],
    rows: Iterator[Numbered],
    names: Mapping[str, tuple[str, ...]] | None = None,
    *,
    check: Check = iter,
) -> OpenTable:
    """The records of rows in the form that they have, else as a table, one per sentence if its rows are words."""
    sample, rows = peek(rows, SAMPLE_ROWS)
    form = find_form(source, kind, [row for _, row in sample if row is not None and not isinstance(row, Rejected)])
    if form is not None:
        return OpenTable((), form.load_reader()(_without_rejected(source, rows), replace(source, form=form.name)))
    grouped = group_words(check(rows), columns, str(source.path), source.notes)
    return OpenTable(columns, (Record(number, row) for number, row in grouped), names or {})


def _with_columns(
    rows: Iterator[Cells], columns: tuple[str, ...], delimiter: str, rejected: list[Rejected]
) -> Iterator[Numbered]:
    """Yield each row of a table by column, None for a blank line; a malformed one goes to `rejected`."""
    for number, cells, reason in rows:
        if not reason and (len(cells) == len(columns) or not cells):
            yield Numbered(number, dict(zip(columns, cells, strict=True)) if cells else None)
        else:
            why = reason or f"{len(cells)} fields where the header has {len(columns)}"
            rejected.append(Rejected(number, why, delimiter.join(map(str, cells))[:1000]))


def _text_lines(source: Source, codec: str) -> Iterator[Numbered]:
    """Yield each line as a row, blank ones too: they separate paragraphs."""
    with open_text(source.path, codec) as handle:
        for number, line in enumerate(handle, start=1):
            yield Numbered(number, {"text": line.removesuffix("\n")})


def _sentences(source: Source, codec: str) -> Iterator[Record]:
    """The sentences; a column that the user names by its number keeps that name."""
    chosen = {role: source.options.column_number(role) for role in ("tokens", "tags")}
    names = {role: role if number is None else str(number) for role, number in chosen.items()}
    pairs = TagPairs()
    for sentence in read_conll(source.path, codec, source.notes, **chosen):
        if sentence.reason:
            source.rejected.append(Rejected(sentence.number, sentence.reason, " ".join(sentence.tokens)[:1000]))
        else:
            tags = {names["tags"]: sentence.tags} if sentence.tags else {}
            pairs.add(sentence.tags, sentence.number)
            yield Record(sentence.number, {names["tokens"]: sentence.tokens, **tags})
    note = pairs.malformed_note(str(source.path))
    source.notes.extend([note] if note else [])


def _lines(source: Source, codec: str) -> Iterator[Numbered]:
    """Yield the value of each line, as a Rejected if it is not JSON."""
    with open_text(source.path, codec, "") as handle:  # a line end inside a JSON string is escaped
        for number, line in enumerate(handle, start=1):
            if line.isspace():
                continue
            try:
                row = _parsed(line)
            except (ValueError, RecursionError) as error:
                row = Rejected(number, f"not JSON: {error}", line[:1000])
            yield Numbered(number, row)


def _parsed(line: str) -> Any:
    """The value of a line of JSON, as json.loads; in half the time for a short object. Raises what it raises."""
    try:
        value, end = SCAN(line, 0)
    except (StopIteration, ValueError):  # white space before it, or no JSON
        return json.loads(line)
    return json.loads(line) if line[end:].strip(" \t\r\n") else value


def _without_rejected(source: Source, rows: Iterator[Numbered]) -> Iterator[Numbered]:
    for number, row in rows:
        if isinstance(row, Rejected):
            source.rejected.append(row)
        else:
            yield Numbered(number, row)


def _objects(source: Source, rows: Iterator[Numbered]) -> Iterator[Numbered]:
    """The lines that are objects; the others go to `rejected`."""
    for numbered in rows:
        number, row = numbered
        if isinstance(row, dict):
            yield numbered
        elif isinstance(row, Rejected):
            source.rejected.append(row)
        else:
            raw = json.dumps(row, ensure_ascii=False)[:1000]
            source.rejected.append(Rejected(number, f"a JSON {type(row).__name__}, not an object", raw))


def _json_objects(source: Source, rows: Any, numbered: Iterator[Numbered]) -> Iterator[Numbered]:
    """The rows of a JSON document. Raises DataError if they are not a list of objects."""
    if not isinstance(rows, list):
        raise DataError(f"'{source.path}' must hold a list of objects, or an object with one under \"data\"")
    odd = next((i for i, row in enumerate(rows, start=1) if not isinstance(row, dict)), None)
    if odd is not None:
        raise DataError(f"'{source.path}': row {odd} is a JSON {type(rows[odd - 1]).__name__}, not an object")
    return numbered
