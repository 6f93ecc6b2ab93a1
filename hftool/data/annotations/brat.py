"""brat's standoff: a text (.txt) and its annotations (.ann), one pair or a folder of them. Offsets are code points."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import annotated_records
from hftool.data.readers.tables import OpenTable, Source
from hftool.errors import DataError, InputMissing
from hftool.storage.run_folder import whole_folder

ENDING = ".ann"
TEXT_BOUND = re.compile(r"(T\d+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")


def is_folder(path: Path) -> bool:
    """Whether a folder holds annotations of brat."""
    return path.is_dir() and any(path.glob(f"*{ENDING}"))


def open_brat(source: Source) -> OpenTable:
    """The records of a pair or of a folder of pairs. Raises InputMissing if a text is missing."""
    files = sorted(source.path.glob(f"*{ENDING}")) if source.path.is_dir() else [source.path]
    missing = next((file for file in files if not file.with_suffix(".txt").is_file()), None)
    if missing is not None:
        raise InputMissing(f"'{missing}' has no text beside it: '{missing.with_suffix('.txt').name}' is missing")
    documents = (_document(number, file, source) for number, file in enumerate(files, start=1))
    return OpenTable((), annotated_records(documents, source))


def _document(number: int, file: Path, source: Source) -> Document:
    text = _read(file.with_suffix(".txt"), source)
    spans, reason = [], ""
    for line in _read(file, source).split("\n"):
        if line.startswith("T"):
            found = TEXT_BOUND.fullmatch(line.rstrip("\r"))
            if found is None:
                reason = reason or f"'{line[:80]}' is no annotation of brat"
            else:
                parts = [tuple(map(int, part.split())) for part in found[3].split(";")]
                spans.append(_span(text, found[2], parts, found[4] or ""))
    return Document(number, text, tuple(spans), columns={"id": file.stem}, source=file.stem, reason=reason)


def _span(text: str, label: str, parts: Sequence[tuple[int, ...]], marked: str) -> Span:
    """A span; parts with only white space between them are one, as where brat splits a span at the end of a line."""
    joined = [parts[0]]
    for start, end in parts[1:]:
        if text[joined[-1][1] : start].strip():
            joined.append((start, end))
        else:
            joined[-1] = (joined[-1][0], end)
    several = tuple((start, end) for start, end in joined) if len(joined) > 1 else ()
    return Span(joined[0][0], joined[-1][1], label, "" if several else marked, several)


def _read(path: Path, source: Source) -> str:
    codec = replace(source, path=path).codec()
    with open(path, encoding=codec, newline="") as handle:  # offsets count both characters of \r\n
        return handle.read()


def write(path: Path, documents: Iterator[Document]) -> int:
    """Write a folder of pairs -> the number of documents.

    Raises:
        DataError: A label has a space, which brat does not know.
        OutputUnavailable: The folder exists.
    """
    count = 0
    with whole_folder(path) as folder:
        for document in documents:
            count += 1
            name = document.source if isinstance(document.source, str) else f"{document.number:06d}"
            (folder / f"{name}.txt").write_text(document.text, encoding="utf-8", newline="")
            lines = "".join(f"T{number}\t{_line(document.text, s)}\n" for number, s in enumerate(document.spans or (), start=1))
            (folder / f"{name}{ENDING}").write_text(lines, encoding="utf-8", newline="")
    return count


def _line(text: str, span: Span) -> str:
    """The label, offsets and text of a span, in parts where it goes over the end of a line."""
    if re.search(r"\s", span.label):
        raise DataError(f"brat has no labels with spaces, such as '{span.label}'", "Write another form with --to")
    found = re.finditer(r"[^\r\n]+", text[span.start : span.end])
    parts = [(span.start + part.start(), span.start + part.end()) for part in found]
    marked = " ".join(text[start:end] for start, end in parts)
    return f"{span.label} {';'.join(f'{start} {end}' for start, end in parts)}\t{marked}"
