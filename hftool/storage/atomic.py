"""Operations on the disk that a crash could cut in two, one function each.

Run folders and checkpoints are written through here and nowhere else, so that a test can count the operations and end the
process before any of them (`watch`). Nothing here decides what is written in which order: see `run` and `training.store`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# told the name of an operation and its path, before it is done; None but in tests
watch: Callable[[str, Path], None] | None = None


def _tell(operation: str, path: Path) -> None:
    if watch is not None:
        watch(operation, path)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises OSError (FileExistsError among them)."""
    _tell("mkdir", path)
    path.mkdir(parents=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes a file by itself, such as safetensors: the moment before and the moment after count."""
    _tell("write", path)
    yield
    _tell("written", path)


def write(path: Path, data: bytes) -> None:
    """Write a file, and sync it."""
    with writing(path), open(path, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def append(path: Path, data: bytes) -> None:
    """Append to a file."""
    with writing(path), open(path, "ab") as handle:
        handle.write(data)


def cut(path: Path, size: int) -> None:
    """Shorten a file to so many bytes."""
    _tell("truncate", path)
    os.truncate(path, size)


def sync_file(path: Path) -> None:
    """Make what was written into a file durable."""
    _tell("fsync", path)
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; Windows has no such call."""
    _tell("fsync", folder)
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(path: Path, target: Path) -> None:
    """Give a file or folder another name."""
    _tell("rename", path)
    os.rename(path, target)


def replace(path: Path, target: Path) -> None:
    """Put a file in the place of another."""
    _tell("replace", path)
    os.replace(path, target)


def publish(path: Path, target: Path) -> None:
    """Give a file another name, which must be free. Raises FileExistsError."""
    _tell("publish", target)
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links: the name is taken first, so that nobody else can
        target.touch(exist_ok=False)
        os.replace(path, target)
    else:
        path.unlink()


def link(path: Path, target: Path) -> None:
    """Give a file a second name; where the disk knows no such thing, copy it."""
    _tell("link", target)
    try:
        os.link(path, target)
    except OSError:
        with writing(target):
            shutil.copyfile(path, target)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    _tell("unlink", path)
    path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            with contextlib.suppress(OSError):
                remove_file(path)
    _tell("rmdir", folder)
    shutil.rmtree(folder, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """What is free where a folder lies, or will lie."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free
