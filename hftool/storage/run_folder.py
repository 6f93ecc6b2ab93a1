"""The run folder: its files, its lock, and atomic writes of files and folders.

RUN/config.yaml  manifest.json  log.jsonl  metrics.json  rejected.jsonl  checkpoints/step-000400/  model/
"""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hftool.errors import InputMissing, OutputUnavailable, StorageError
from hftool.storage import atomic
from hftool.storage.json_documents import INSIDE, OBJECT, Schema, check_document, each, fault_of, parse_file
from hftool.storage.stand_ins import STAND_INS

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
HASHES: Schema = {**TEXTS, "propertyNames": {"pattern": INSIDE}}
COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
COUNT: Schema = {"type": "integer", "minimum": 0}
MANIFEST: Schema = {  # the keys of manifest.json that are read
    "type": "object",
    "properties": {
        **each(("hftool", "created", "python", "device", "precision", "base", "revision", "data_revision"), TEXT),
        "command": {"type": "array", "items": TEXT},
        **each(("versions", "hashes", "data"), TEXTS),
        "stand_in": STAND_INS,
        "seed": {"type": "integer"},
        **each(("rows", "cut"), COUNTS),
        **each(("rejected", "duplicates", "conflicts", "leaked"), COUNT),
        "processes": {"type": "integer", "minimum": 1},
        "settings": {"type": "object"},
    },
}
NUMBERS_BY_NAME: Schema = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
}
SPLIT: Schema = {  # the metrics of one split in metrics.json
    "type": "object",
    "properties": {
        "rows": COUNT,
        "by_class": NUMBERS_BY_NAME,
        "by_type": NUMBERS_BY_NAME,
        "majority_baseline": {
            "type": ["object", "null"],
            "required": ("label", "accuracy"),
            "properties": {"accuracy": {"type": "number"}},
        },
    },
}
METRICS: Schema = {  # the keys of metrics.json that are read
    "type": "object",
    "properties": {
        "seconds": {"type": "number"},
        "thresholds": {"type": "array", "items": {"type": "number"}},
        "model": HASHES,
        "validation": SPLIT,
        "test": SPLIT,
    },
}


class _Inside:
    """A file or folder of a run by its name, as a property of `Run`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "Run", owner: type) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class Run:
    """A run folder by its path. Nothing is read or written until a method is called."""

    path: Path

    config = _Inside("config.yaml")  # every setting, resolved: `--config` with this file repeats the run
    manifest = _Inside("manifest.json")  # versions, command, machine, fingerprints of the data, revision, hashes, stand-ins
    log = _Inside("log.jsonl")  # one JSON line per logged step
    metrics = _Inside("metrics.json")  # final metrics by split; written last, so it exists only in a finished run
    rejected = _Inside("rejected.jsonl")  # rows that could not be used, one JSON line each, with the reason
    checkpoints = _Inside("checkpoints")  # folders named step-000400
    base = _Inside("base")  # config, tokenizer, head config, written before the first step; a model with any checkpoint
    model = _Inside("model")  # the finished model: Hugging Face files and hftool.json

    def read_manifest(self) -> dict[str, Any]:
        """The manifest. Raises InputMissing (there is none), DataError (damaged), Refused (not a regular file)."""
        return read_json(self.manifest, MANIFEST)

    def read_metrics(self) -> dict[str, Any]:
        """The final metrics. Raises what `read_manifest` raises."""
        return read_json(self.metrics, METRICS)

    def is_run(self) -> bool:
        """True if this is the folder of a run, finished or not."""
        return self.config.is_file() and self.manifest.is_file()

    def is_finished(self) -> bool:
        """True if the run is complete and its model was written."""
        return self.metrics.is_file() and self.model.is_dir()


def check_output(path: Path) -> None:
    """Raise OutputUnavailable if `path` exists, cannot be created, or is being written by another process."""
    _check_free(path)
    parent = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputUnavailable(f"the output '{path}' cannot be created: '{parent}' is not a folder that can be written")
    if any(map(_is_locked, _parts_of(path))):
        raise OutputUnavailable(f"the output '{path}' is being written by another process", "Choose another --out, or wait")


def _check_free(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise OutputUnavailable(f"the output '{path}' exists already", "Choose another --out, or remove it")


def create_folder(path: Path) -> None:
    """Make a folder and its parents. Raises OutputUnavailable."""
    try:
        atomic.make_folder(path)
    except OSError as error:
        raise OutputUnavailable(f"the output '{path}' cannot be created: {error.strerror}") from None


def fresh_run_path(root: Path, name: str, stamp: str) -> Path:
    """`root/name-stamp`, with a numeric suffix when two runs start in the same second."""
    first = root / f"{name}-{stamp}"
    return next(p for n in range(10_000) if not (p := first if n == 0 else Path(f"{first}-{n}")).exists())


_locks: set[IO[str]] = set()  # lock files of run folders that this process holds
_descriptors: set[int] = set()  # locks of the files and folders that it is writing


def _close_inherited_locks() -> None:
    """Close the locks in a forked child, such as a data loader worker, which would hold them after its parent has died."""
    for handle in _locks:
        handle.close()
    _locks.clear()
    _release(list(_descriptors))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder for this process; does nothing where flock does not exist (Windows).

    flock, not a pid file: pids are reused, and the kernel frees a dead process's lock. Raises OutputUnavailable, with the pid.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / ".lock", "a+", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise OutputUnavailable(f"the run folder '{folder}' is locked by process {holder}") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        _locks.add(handle)
        try:
            yield
        finally:
            _locks.discard(handle)


@contextlib.contextmanager
def whole_file(path: Path, *, binary: bool = False, overwrite: bool = True) -> Iterator[IO[Any]]:
    """Open a file for an atomic write: to a temporary file in the same folder, which is synced and renamed at the end.

    Raises:
        OutputUnavailable: It cannot be created, or without `overwrite` it exists or another process is writing it.
        StorageError: The disk is full, or writing failed.
    """
    if not overwrite:
        check_output(path)
    with _part_of(path, _create_file) as part:
        handle = open(part, "wb") if binary else open(part, "w", encoding="utf-8", newline="")
        try:
            with handle, atomic.writing(part):
                yield handle
                handle.flush()
            atomic.sync_file(part)
            (atomic.replace if overwrite else atomic.publish)(part, path)
        except FileExistsError:
            raise OutputUnavailable(f"the output '{path}' exists already", "Another process wrote it meanwhile") from None
        except OSError as error:
            raise StorageError(f"writing '{path}' failed: {error.strerror or error}") from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Write a folder atomically: yields a temporary folder that is synced and renamed to `path` if the block succeeds.

    The name must be free: see `check_output`. Raises OutputUnavailable, StorageError.
    """
    with _part_of(path, create_folder) as part:
        try:
            with atomic.writing(part):
                yield part
            for file in sorted(p for p in part.rglob("*") if p.is_file()):
                atomic.sync_file(file)
            atomic.sync_folder(part)
            _check_free(path)
            atomic.rename(part, path)
            atomic.sync_folder(path.absolute().parent)
        except OSError as error:
            raise StorageError(f"writing '{path}' failed: {error.strerror or error}") from error


def _create_file(path: Path) -> None:
    """Raises OutputUnavailable."""
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise OutputUnavailable(f"the output '{path}' cannot be created: {error.strerror}") from None


@contextlib.contextmanager
def _part_of(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """A temporary file or folder next to `path`, locked by this process, and removed at the end unless it was renamed.

    Leftovers of killed processes that wrote the same path are removed first.
    """
    _remove_leftovers(path)
    part, descriptors = _create_locked(path, create)
    _descriptors.update(descriptors)
    try:
        yield part
    finally:
        _remove_part(part)
        _release(descriptors)


def _create_locked(path: Path, create: Callable[[Path], None]) -> tuple[Path, list[int]]:
    """A new temporary file or folder for `path`, and the descriptors of its lock.

    Another process that writes the same path may remove it as a leftover before it is locked: then another one is created.
    """
    while True:
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        create(part)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            descriptors = _flock(part)
            if all(os.path.samestat(os.fstat(one), part.stat()) for one in descriptors):
                return part, descriptors
            _release(descriptors)


def _flock(path: Path) -> list[int]:
    """Lock a file or folder; returns the descriptors of the lock, none where the system or the disk has no flock.

    Raises BlockingIOError (another process holds it), FileNotFoundError.
    """
    try:
        import fcntl
    except ImportError:
        return []
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return []
    return [descriptor]


def _release(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        _descriptors.discard(descriptor)
        os.close(descriptor)


def _parts_of(path: Path) -> list[Path]:
    """The temporary files and folders of this path: in use, or left by killed processes."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    try:
        return sorted(part for part in path.parent.iterdir() if name.fullmatch(part.name))
    except OSError:  # no such folder, or one that may not be listed
        return []


def _is_locked(part: Path) -> bool:
    try:
        _release(_flock(part))
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of a path that no process has locked; without flock they stay."""
    for part in _parts_of(path):
        with contextlib.suppress(OSError):
            descriptors = _flock(part)
            if descriptors:
                _remove_part(part)
            _release(descriptors)


def _remove_part(part: Path) -> None:
    atomic.remove_folder(part) if part.is_dir() else part.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove all temporary files in a folder. The caller must hold its lock, since those of a live process look the same."""
    for part in sorted(folder.glob(".*.part")):
        atomic.remove_folder(part) if part.is_dir() else atomic.remove_file(part)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole_file(path) as handle:
        handle.write(text)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically. Raises ValueError for NaN and Infinity, which are not JSON."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, schema: Schema = OBJECT) -> dict[str, Any]:
    """Read a JSON object of a schema.

    Raises InputMissing (missing, or no JSON object), Refused (not a regular file), DataError (it does not fit the schema).
    """
    loaded, fault = parse_file(path)
    fault = fault or fault_of(loaded, OBJECT)
    if fault:
        raise InputMissing(f"'{path}' cannot be read: {fault}")
    check_document(loaded, schema, path)
    document: dict[str, Any] = loaded
    return document


def append_lines(path: Path, documents: list[dict[str, Any]]) -> None:
    """Append JSON lines. Raises StorageError."""
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    try:
        atomic.append(path, text.encode("utf-8"))
    except OSError as error:
        raise StorageError(f"writing '{path}' failed: {error.strerror}") from error


def truncate_log(path: Path, size: int) -> None:
    """Truncate a log to `size` bytes, dropping the lines appended since. Raises StorageError."""
    if not path.is_file() or path.stat().st_size <= size:
        return
    try:
        atomic.truncate(path, size)
        atomic.sync_file(path)
    except OSError as error:
        raise StorageError(f"writing '{path}' failed: {error.strerror}") from error
