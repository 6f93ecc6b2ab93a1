"""Folders that the processes of one test session share, and what is made in them once.

xdist's workers have a session in common; without xdist the session is this process.
"""

import atexit
import os
import pickle
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

OWNER = not {"TEST_SESSION", "PYTEST_XDIST_TESTRUNUID"} & os.environ.keys()
SESSION = os.environ.setdefault("TEST_SESSION", os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())))  # also of children


def session_folder(name):
    """A folder of this session. A session of one process removes it; `make unit` removes its whole TMPDIR."""
    folder = Path(tempfile.gettempdir()) / f"hftool-{name}-{SESSION}"
    folder.mkdir(exist_ok=True)
    if OWNER:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def created_once(folder, name, make):
    """What `make()` returns, which is called in one process of the session only; it must be possible to pickle it."""
    kept = folder / f"{name}.pickle"
    with FileLock(folder / f"{name}.lock"):
        if not kept.exists():
            data = pickle.dumps(make())
            kept.write_bytes(data)
            return pickle.loads(data)
    return pickle.loads(kept.read_bytes())
