"""The file formats of data by file extension. A new one is a row here, a reader in this folder, and a case in `tables`."""

from pathlib import Path

from hftool.errors import UsageError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "txt",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".conllu": "conll",
    ".xlsx": "workbook",
    ".xlsm": "workbook",
    ".xlsb": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".zip": "zip",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def file_format(path: str | Path) -> str:
    """The format of a file by its ending: a value of FORMATS. Raises UsageError for any other ending."""
    suffix = ending_of(path)
    if suffix not in FORMATS:
        raise UsageError(f"'{path}' has an unknown ending", "Use one of " + " ".join(FORMATS))
    return FORMATS[suffix]


def ending_of(path: str | Path) -> str:
    """The ending of a file in lower case, that of its table if it is compressed: .csv of Train.csv.gz."""
    path = Path(path)
    return Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()
