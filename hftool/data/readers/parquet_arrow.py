"""Parquet and Arrow files, and folders of `save_to_disk`, to rows and the class names in their `datasets` metadata."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftool.errors import DataError, brief

KINDS = {"parquet": "a Parquet file", "arrow": "an Arrow file"}
METADATA = b"huggingface"  # schema metadata key of the features of `datasets`, as JSON
SHARD = re.compile(r"-(\d+)-of-(\d+)$")  # the end of a stem: train-00000-of-00002
BATCH = 4096  # rows in memory


def read_columnar(path: Path, kind: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], Iterator[dict[str, Any]]]:
    """Read a "parquet" or "arrow" file (file or stream format) lazily -> columns, column -> class names in id order, rows.

    Raises:
        DataError: The file is damaged, also while rows are read, or repeats a column.
    """
    import pyarrow

    try:
        schema, batches = _open_parquet(path) if kind == "parquet" else _open_arrow(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, kind, error) from None
    columns = tuple(schema.names)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"'{path}' has the column '{twice}' more than once", "Rename one of them")

    def rows() -> Iterator[dict[str, Any]]:
        """Each row."""
        try:
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    yield from batch.slice(start, BATCH).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(path, kind, error) from None

    return columns, class_names((schema.metadata or {}).get(METADATA, b"")), rows()


def _open_parquet(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    return file.schema_arrow, file.iter_batches(batch_size=BATCH)


def _open_arrow(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow

    with open(path, "rb") as handle:
        is_file = handle.read(6) == b"ARROW1"
    source = pyarrow.memory_map(str(path))
    if not is_file:
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, iter(stream)
    file = pyarrow.ipc.open_file(source)
    return file.schema, (file.get_batch(i) for i in range(file.num_record_batches))


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(f"'{path}' is not {KINDS[kind]}, or damaged: {brief(error, 160)}")


def class_names(metadata: bytes) -> dict[str, tuple[str, ...]]:
    """Column -> class names in id order, from the metadata of `datasets`; {} if there are none."""
    try:
        features = json.loads(metadata)["info"]["features"] if metadata else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = {column: _names_of(feature) for column, feature in features.items()} if isinstance(features, dict) else {}
    return {column: names for column, names in found.items() if names}


def _names_of(feature: Any) -> tuple[str, ...]:
    """The names of a ClassLabel or a list of it, in the formats of all versions."""
    for _ in range(4):  # lists of lists
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and feature.get("_type") != "ClassLabel" and "feature" in feature:
            feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def saved_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Split -> Arrow files of a folder of `save_to_disk`; a single `Dataset` is train; {} for any other folder.

    Raises:
        DataError: Files are missing.
    """
    names = _read_object(folder / "dataset_dict.json").get("splits")
    if isinstance(names, list):
        inside = {name: folder / name for name in names if isinstance(name, str) and Path(name).name == name}
        return {name: _saved_files(part) for name, part in inside.items()}
    return {"train": _saved_files(folder)} if (folder / "state.json").is_file() else {}


def _saved_files(folder: Path) -> tuple[Path, ...]:
    listed = _read_object(folder / "state.json").get("_data_files")
    names = [item.get("filename") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    files = tuple(folder / name for name in names if isinstance(name, str) and Path(name).name == name)
    missing = next((path for path in files if not path.is_file()), None)
    if not files or missing:
        raise DataError(f"'{folder}' is incomplete: it lacks '{missing.name if missing else 'state.json'}'", "Save it again")
    return files


def _read_object(path: Path) -> dict[str, Any]:
    """A small JSON file as an object; {} if there is none."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def check_shards(paths: list[Path]) -> None:
    """Raise DataError if a split lacks shards (train-00001-of-00003 alone), or has two sets of them."""
    counts = {(SHARD.sub("", _stem(path)), int(found[2])) for path in paths if (found := SHARD.search(_stem(path)))}
    for stem, count in counts:
        present = sum(_stem(path).startswith(f"{stem}-") for path in paths)
        if present != count:
            what = f"'{paths[0].parent}' has {present} of the {count} files of {stem}"
            raise DataError(what, "Fetch the others, or name one file")


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
