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
}


def file_format(path: str | Path) -> str:
    """The format of a file by its ending: a value of FORMATS. Raises UsageError for any other ending."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"'{path}' has an unknown ending", "Use one of " + " ".join(FORMATS))
    return FORMATS[suffix]
