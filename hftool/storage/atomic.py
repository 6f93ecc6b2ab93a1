"""Disk operations that a crash could interrupt, one function each.

All writes of run folders and checkpoints go through this module, so that a test can count the operations and kill the process
before any of them (`watch`). The order of the writes is decided by `run_folder` and `training.checkpoints`.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# called with the name and the path of each operation before it is done; None except in tests
watch: Callable[[str, Path], None] | None = None


def _notify(operation: str, path: Path) -> None:
    if watch is not None:
        watch(operation, path)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises OSError (FileExistsError among them)."""
    _notify("mkdir", path)
    path.mkdir(parents=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Wrap a library call that writes a file, such as safetensors': before and after it count as operations."""
    _notify("write", path)
    yield
    _notify("written", path)


def write_file(path: Path, data: bytes) -> None:
    """Write a file and sync it."""
    with writing(path), open(path, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def append(path: Path, data: bytes) -> None:
    """Append to a file."""
    with writing(path), open(path, "ab") as handle:
        handle.write(data)


def truncate(path: Path, size: int) -> None:
    """Truncate a file to `size` bytes."""
    _notify("truncate", path)
    os.truncate(path, size)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    _notify("fsync", path)
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; Windows has no such call."""
    _notify("fsync", folder)
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(path: Path, target: Path) -> None:
    """Rename a file or folder."""
    _notify("rename", path)
    os.rename(path, target)


def replace(path: Path, target: Path) -> None:
    """Rename a file, replacing `target`."""
    _notify("replace", path)
    os.replace(path, target)


def publish(path: Path, target: Path) -> None:
    """Rename a file to a name that must be free. Raises FileExistsError."""
    _notify("publish", target)
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links: claim the name first
        target.touch(exist_ok=False)
        os.replace(path, target)
    else:
        path.unlink()


def link(path: Path, target: Path) -> None:
    """Hard-link a file; on a disk without links, copy it."""
    _notify("link", target)
    try:
        os.link(path, target)
    except OSError:
        with writing(target):
            shutil.copyfile(path, target)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists."""
    _notify("unlink", path)
    path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder and its content, as far as possible."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            with contextlib.suppress(OSError):
                remove_file(path)
    _notify("rmdir", folder)
    shutil.rmtree(folder, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free
