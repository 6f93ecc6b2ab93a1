"""Folders that are expensive to create: the first pytest-xdist process that needs one creates it for all."""

import functools
import tempfile
from pathlib import Path

from filelock import FileLock

_root = None  # set by conftest.py: a folder that the processes of one run of pytest share


def share_in(folder):
    """Make and look for the folders in this one."""
    global _root
    _root = folder


@functools.cache
def shared_folder(name, make):
    """The folder `name`, which `make(path)` has filled. Do not change it, and copy it before you do."""
    root = _root or Path(tempfile.mkdtemp(prefix="hftool-shared-"))
    path, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            path.mkdir()
            make(path)
            done.touch()
    return path
