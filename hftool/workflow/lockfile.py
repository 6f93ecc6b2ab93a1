"""hftool.lock: the pinned revision of each Hub repository, and the SHA-256 of each of its files.

`hftool prefetch MODEL TASK --lock` writes or extends it. While a lock is active (`--locked`, or its path in the environment
variable HFTOOL_LOCK, which also works for Python, servers and images), whatever it does not list is refused before anything
is parsed: another repository, another revision, a file that differs or is not listed. Bundled models and models from installed
packages are fixed by their wheels; local folders and files are the user's own. Both pass.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hftool.errors import ConfigError, InputMissing, Refused
from hftool.hub import REVISION, Snapshot, is_read
from hftool.storage.checksums import compare_folder, sha256
from hftool.storage.run_folder import read_json, write_json

NAME = "hftool.lock"
VARIABLE = "HFTOOL_LOCK"  # environment variable: the path of the active lock; --locked sets it
VERSION = 1
SHARED = ("README.md", ".huggingface.yaml")  # the files of a data set that define its parts
KINDS = ("model", "dataset")
Value = TypeVar("Value")
LOCK_AGAIN = "If the change is meant: hftool prefetch MODEL TASK --lock"


@dataclass(frozen=True)
class Entry:
    """A locked repository."""

    requested: str  # the requested branch, tag or revision; "asked" in the file
    revision: str  # the commit, 40 hex digits
    files: Mapping[str, str]  # file name in the repository to SHA-256


@dataclass(frozen=True)
class Lock:
    """The entries of a lock file, by (kind, "owner/name")."""

    path: Path
    entries: Mapping[tuple[str, str], Entry]

    def pin(self, repo: str, revision: str, kind: str) -> str:
        """The locked revision of a repository. Raises Refused when it is not locked, or at another than `revision`."""
        entry = self.entries.get((kind, repo))
        if entry is None:
            raise Refused(f"the {kind} '{repo}' is not in '{self.path}'", f"Add it: hftool prefetch {repo} --lock")
        if revision not in ("", entry.revision, entry.requested):
            what = f"'{repo}' is locked at {entry.revision[:12]} ('{entry.requested}'), and '{revision}' is asked for"
            raise Refused(f"{what} ('{self.path}')", LOCK_AGAIN)
        return entry.revision

    def is_whole(self, repo: str, folder: Path, *, kind: str, part: str = "") -> bool:
        """Whether the folder has every locked file of the repository, or of a part of it."""
        return all((folder / name).is_file() for name in _of_part(self.entries[kind, repo].files, part))

    def check(self, repo: str, folder: Path, *, kind: str, part: str = "") -> None:
        """Raise Refused unless the snapshot has exactly the locked files, among those that could be read, or of a part."""
        known = _of_part(self.entries[kind, repo].files, part)
        # `datasets` reads every file it knows, more than hftool fetches; transformers only what `is_read` names
        present = _of_part(_present(folder, kind, every_file=kind == "dataset"), part)
        if not any(name.startswith(f"{part}/") for name in known) if part else not known:
            raise Refused(f"'{self.path}' has no files of '{repo}'" + (f" in '{part}'" if part else ""), LOCK_AGAIN)
        diff = compare_folder(folder, known, present=present)
        for name in diff.missing:
            raise Refused(f"'{name}' of '{repo}' is locked but missing ('{folder}')", LOCK_AGAIN)
        for name in diff.added:
            raise Refused(f"'{folder / name}' is not in '{self.path}'", f"Remove it. {LOCK_AGAIN}")
        for name, found in diff.changed.items():
            what = f"'{folder / name}' has the SHA-256 {found[:16]}..., and '{self.path}' says {known[name][:16]}..."
            raise Refused(what, f"Remove it, and it is fetched again. {LOCK_AGAIN}")

    def extended(self, repo: str, requested: str, found: Snapshot, *, kind: str, part: str = "") -> "Lock":
        """The lock with a repository as it was found, replacing any other revision of it."""
        files = {name: sha256(path) for name, path in _of_part(_present(found.folder, kind), part).items()}
        old = self.entries.get((kind, repo))
        if old is not None and old.revision == found.revision:
            files = {**old.files, **files}
        return replace(self, entries={**self.entries, (kind, repo): Entry(requested or "main", found.revision, files)})

    def write(self) -> None:
        """Write the file, sorted, so that versions of it diff well. Raises OutputUnavailable, StorageError."""
        document: dict[str, Any] = {"version": VERSION}
        for kind in KINDS:
            rows = sorted((repo, entry) for (known, repo), entry in self.entries.items() if known == kind)
            document[kind] = {
                repo: {"asked": entry.requested, "revision": entry.revision, "files": dict(sorted(entry.files.items()))}
                for repo, entry in rows
            }
        write_json(self.path, document)


def _present(folder: Path, kind: str, *, every_file: bool = False) -> dict[str, Path]:
    """The files of a snapshot that hftool would fetch, by name; `every_file`: those that other tools added, too."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in paths.items() if is_read(name, kind) or (every_file and name != ".gitattributes")}


def _of_part(files: Mapping[str, Value], part: str) -> dict[str, Value]:
    """The files that belong to a part of a data set, and those that define its parts; without a part all files."""
    return {name: files[name] for name in files if not part or name.startswith(f"{part}/") or name in SHARED}


def read_lock(path: Path) -> Lock:
    """Read a lock file. Raises InputMissing when there is none, ConfigError when it is damaged."""
    if not path.is_file():
        raise InputMissing(f"there is no lock file '{path}'", "Make it: hftool prefetch MODEL TASK --lock")
    try:
        document = read_json(path)
        entries = {
            (kind, str(repo)): Entry(str(row["asked"]), str(row["revision"]), {n: str(d) for n, d in row["files"].items()})
            for kind in KINDS
            for repo, row in document.get(kind, {}).items()
        }
        valid = document.get("version") == VERSION and set(document) <= {"version", *KINDS}
        valid = valid and all(REVISION.fullmatch(entry.revision) for entry in entries.values())
    except (InputMissing, LookupError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ConfigError(f"'{path}' is no lock file of this version of hftool, or is damaged", "Make it again")
    return Lock(path, entries)


def active_lock() -> Lock | None:
    """The active lock of this process, or None. Raises what `read_lock` raises."""
    path = os.environ.get(VARIABLE)
    return read_lock(Path(path)) if path else None
