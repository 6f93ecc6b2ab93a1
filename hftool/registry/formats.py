"""The formats of data files: files by their ending, and forms of rows that are recognised by the content of such a file.

A new one is a row here and its reader in `hftool/data/`. The reader of a file is a function `(source) -> OpenTable`. The reader
of a form is a function `(rows, source) -> records`; its module also has `detect(sample)`, which tells by the first rows of a
file whether they have that form.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hftool.errors import UsageError, did_you_mean

AUTO = "auto"
TABLE = "table"  # of output: no form
REJECT, INCLUDE = "reject", "include"  # what becomes of a word that a span covers in part


@dataclass(frozen=True, kw_only=True)
class FileFormat:
    """One format of files, or one form of the rows in such files."""

    name: str  # the value of --format
    title: str  # its name in messages
    reader: str  # "package.module:function"
    endings: tuple[str, ...] = ()  # of its files, for a format of files
    containers: tuple[str, ...] = ()  # for a form: the formats of files whose rows can have it, the usual one first
    outputs: tuple[str, ...] = ()  # the endings of the files of suggestions that can be written in it

    signature: bytes = b""  # the first bytes of its files, which decide before the ending
    folders: bool = False  # whether a folder can be one table of it: its module then has `is_folder(path)`

    def load_module(self) -> ModuleType:
        """Import the module of the reader."""
        return importlib.import_module(self.reader.partition(":")[0])

    def load_reader(self) -> Any:
        """Import the reader."""
        return getattr(self.load_module(), self.reader.partition(":")[2])

    def detect(self, sample: Sequence[Any]) -> bool:
        """Whether the first rows of a file have this form."""
        return bool(self.load_module().detect(sample))


ANNOTATIONS = "hftool.data.annotations"
FILES = "hftool.data.readers.files"
FORMATS = (
    FileFormat(name="csv", title="CSV", reader=f"{FILES}:open_csv", endings=(".csv",)),
    FileFormat(name="tsv", title="TSV", reader=f"{FILES}:open_tsv", endings=(".tsv",)),
    FileFormat(name="json", title="JSON", reader=f"{FILES}:open_json", endings=(".json",)),
    FileFormat(name="jsonl", title="JSON Lines", reader=f"{FILES}:open_jsonl", endings=(".jsonl", ".ndjson")),
    FileFormat(name="parquet", title="Parquet", reader=f"{FILES}:open_parquet", endings=(".parquet",)),
    FileFormat(name="arrow", title="Arrow", reader=f"{FILES}:open_arrow", endings=(".arrow",)),
    FileFormat(name="txt", title="plain text", reader=f"{FILES}:open_txt", endings=(".txt",)),
    FileFormat(name="conll", title="CoNLL", reader=f"{FILES}:open_conll", endings=(".conll", ".bio", ".iob", ".conllu")),
    FileFormat(
        name="workbook",
        title="a workbook",
        reader=f"{FILES}:open_workbook",
        endings=(".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    ),
    FileFormat(name="sqlite", title="SQLite", reader=f"{FILES}:open_sqlite", endings=(".sqlite", ".sqlite3", ".db")),
    FileFormat(name="fasttext", title="fastText's lines", reader="hftool.data.readers.fasttext:read", containers=("txt",)),
    FileFormat(
        name="label-first",
        title="lines of a class and a text",
        reader="hftool.data.readers.label_first:read",
        containers=("txt",),
    ),
    FileFormat(name="tmx", title="TMX", reader=f"{FILES}:open_tmx", endings=(".tmx",)),
    FileFormat(name="squad", title="SQuAD JSON", reader="hftool.data.readers.squad:read", containers=("json",)),
    FileFormat(
        name="doccano",
        title="an export of doccano",
        reader=f"{ANNOTATIONS}.doccano:read",
        containers=("jsonl", "json"),
        outputs=(".jsonl", ".json"),
    ),
    FileFormat(
        name="label-studio",
        title="Label Studio's JSON",
        reader=f"{ANNOTATIONS}.label_studio:read",
        containers=("json", "jsonl"),
        outputs=(".json",),
    ),
    FileFormat(
        name="label-studio-min",
        title="Label Studio's JSON_MIN or CSV",
        reader=f"{ANNOTATIONS}.label_studio_min:read",
        containers=("json", "csv"),
    ),
    FileFormat(
        name="prodigy",
        title="Prodigy's JSON Lines",
        reader=f"{ANNOTATIONS}.prodigy:read",
        containers=("jsonl", "json"),
        outputs=(".jsonl",),
    ),
    FileFormat(
        name="spacy",
        title="spaCy's JSON",
        reader=f"{ANNOTATIONS}.spacy_json:read",
        containers=("json", "jsonl"),
        outputs=(".json",),
    ),
    FileFormat(
        name="vertex",
        title="Vertex AI's JSON Lines",
        reader=f"{ANNOTATIONS}.vertex:read",
        containers=("jsonl",),
        outputs=(".jsonl",),
    ),
    FileFormat(
        name="webanno",
        title="WebAnno TSV 3",
        reader=f"{ANNOTATIONS}.webanno_tsv:open_webanno",
        signature=b"#FORMAT=WebAnno TSV",
    ),
    FileFormat(name="gate", title="GATE's inline XML", reader=f"{ANNOTATIONS}.gate_xml:open_gate", endings=(".xml",)),
    FileFormat(name="rasa", title="Rasa's YAML", reader=f"{ANNOTATIONS}.rasa:open_rasa", endings=(".yml", ".yaml")),
    FileFormat(
        name="docbin",
        title="spaCy's DocBin",
        reader=f"{ANNOTATIONS}.docbin:open_docbin",
        endings=(".spacy",),
        outputs=(".spacy",),
    ),
    FileFormat(
        name="brat",
        title="brat's standoff",
        reader=f"{ANNOTATIONS}.brat:open_brat",
        endings=(".ann",),
        outputs=("",),
        folders=True,
    ),
    FileFormat(name="squad-lines", title="SQuAD's paragraphs", reader="hftool.data.readers.squad:read", containers=("jsonl",)),
    FileFormat(
        name="alpaca",
        title="Alpaca's rows",
        reader="hftool.data.readers.alpaca:read",
        containers=("json", "jsonl", "csv", "tsv"),
    ),
)
BY_NAME = {row.name: row for row in FORMATS}


def format_names() -> tuple[str, ...]:
    """The values of --format."""
    return (AUTO, *BY_NAME)


def output_names() -> tuple[str, ...]:
    """The values of --to."""
    return (AUTO, TABLE, *(row.name for row in FORMATS if row.outputs))


def get_format(name: str) -> FileFormat:
    """The format of this name. Raises UsageError, with the nearest name, for any other."""
    if name not in BY_NAME:
        raise UsageError(f"unknown format '{name}'", did_you_mean(name, BY_NAME, otherwise="One of " + ", ".join(BY_NAME)))
    return BY_NAME[name]


def folder_format(path: Path) -> FileFormat | None:
    """The format of which a folder is one table; None for a folder of splits, and for a file."""
    return next((row for row in FORMATS if row.folders and path.is_dir() and row.load_module().is_folder(path)), None)


def signed_format(first: bytes) -> FileFormat | None:
    """The format whose files begin with these bytes, if any."""
    return next((row for row in FORMATS if row.signature and first.startswith(row.signature)), None)


def forms_in(container: str) -> list[FileFormat]:
    """The forms that the rows of a format of files can have, in the order in which they are tried."""
    return [row for row in FORMATS if container in row.containers]
