"""hftool.lock: which revision of each repository of the Hub is used, and the SHA-256 of each of its files.

`hftool prefetch MODEL TASK --lock` writes or extends it. Where it holds (`--locked`, or its path in the variable
HFTOOL_LOCK, which works for Python, servers and images as well) whatever it does not list is refused before anything of it
is parsed: another repository, another revision, a file that differs or that is not listed. What hftool brings itself and
what an installed package carries is fixed by the wheel, and folders and files of one's own are one's own: they pass.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hftool.errors import ConfigError, InputMissing, Refused
from hftool.hub import REVISION, Snapshot, is_read
from hftool.safety import sha256
from hftool.storage.run_folder import read_json, write_json

NAME = "hftool.lock"
VARIABLE = "HFTOOL_LOCK"  # of the environment: the path of the lock that holds; --locked sets it
VERSION = 1
OF_ALL = ("README.md", ".huggingface.yaml")  # the files of a data set that say what its parts are
KINDS = ("model", "dataset")
Value = TypeVar("Value")
AGAIN = "If the change is meant: hftool prefetch MODEL TASK --lock"


@dataclass(frozen=True)
class Entry:
    """A repository as it is locked. asked: the branch or tag that led to the revision, or the revision itself.
    revision: 40 hexadecimal digits. files: name in the repository to SHA-256."""

    asked: str
    revision: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Lock:
    """The entries of a lock file, by (kind, "owner/name")."""

    path: Path
    entries: Mapping[tuple[str, str], Entry]

    def pin(self, repo: str, revision: str, kind: str) -> str:
        """The locked revision of a repository that is asked for under this revision, or under none.

        Raises Refused when the lock does not have it, or has another.
        """
        entry = self.entries.get((kind, repo))
        if entry is None:
            raise Refused(f"the {kind} '{repo}' is not in '{self.path}'", f"Add it: hftool prefetch {repo} --lock")
        if revision not in ("", entry.revision, entry.asked):
            what = f"'{repo}' is locked at {entry.revision[:12]} ('{entry.asked}'), and '{revision}' is asked for"
            raise Refused(f"{what} ('{self.path}')", AGAIN)
        return entry.revision

    def is_whole(self, repo: str, folder: Path, *, kind: str, part: str = "") -> bool:
        """Whether every locked file of the repository, or of a part of it, lies in the folder."""
        return all((folder / name).is_file() for name in _of_part(self.entries[kind, repo].files, part))

    def check(self, repo: str, folder: Path, *, kind: str, part: str = "") -> None:
        """Raise Refused unless the folder holds the locked files, and no other that could be read.

        part: a folder of a data set, outside of which nothing is looked at.
        """
        known = _of_part(self.entries[kind, repo].files, part)
        # `datasets` reads whatever it knows, and more than we fetch; transformers only what `is_read` names
        present = _of_part(_present(folder, kind, all_of_it=kind == "dataset"), part)
        if not any(name.startswith(f"{part}/") for name in known) if part else not known:
            raise Refused(f"'{self.path}' has no files of '{repo}'" + (f" in '{part}'" if part else ""), AGAIN)
        for name in sorted({*known, *present}):
            if name not in present:
                raise Refused(f"'{name}' of '{repo}' is locked but is not there ('{folder}')", AGAIN)
            if name not in known:
                raise Refused(f"'{folder / name}' is not in '{self.path}'", f"Remove it. {AGAIN}")
            if (found := sha256(folder / name)) != known[name]:
                what = f"'{folder / name}' has the SHA-256 {found[:16]}..., and '{self.path}' says {known[name][:16]}..."
                raise Refused(what, f"Remove it, and it is fetched again. {AGAIN}")

    def extended(self, repo: str, asked: str, found: Snapshot, *, kind: str, part: str = "") -> "Lock":
        """The lock with a repository as it was found, in the place of any other revision of it."""
        files = {name: sha256(path) for name, path in _of_part(_present(found.folder, kind), part).items()}
        old = self.entries.get((kind, repo))
        if old is not None and old.revision == found.revision:
            files = {**old.files, **files}
        return replace(self, entries={**self.entries, (kind, repo): Entry(asked or "main", found.revision, files)})

    def write(self) -> None:
        """Write the file, sorted, so that two of them can be compared by eye. Raises OutputUnavailable, StorageError."""
        document: dict[str, Any] = {"version": VERSION}
        for kind in KINDS:
            rows = sorted((repo, entry) for (known, repo), entry in self.entries.items() if known == kind)
            document[kind] = {
                repo: {"asked": entry.asked, "revision": entry.revision, "files": dict(sorted(entry.files.items()))}
                for repo, entry in rows
            }
        write_json(self.path, document)


def _present(folder: Path, kind: str, *, all_of_it: bool = False) -> dict[str, Path]:
    """The files in a folder of the cache that hftool would fetch, by their names in the repository: another tool may have laid
    more beside them. all_of_it: those, too."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in paths.items() if is_read(name, kind) or (all_of_it and name != ".gitattributes")}


def _of_part(files: Mapping[str, Value], part: str) -> dict[str, Value]:
    """The files that belong to a part of a data set, and the page that lists its parts; without a part all."""
    return {name: files[name] for name in files if not part or name.startswith(f"{part}/") or name in OF_ALL}


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
        fits = document.get("version") == VERSION and set(document) <= {"version", *KINDS}
        fits = fits and all(REVISION.fullmatch(entry.revision) for entry in entries.values())
    except (InputMissing, LookupError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise ConfigError(f"'{path}' is no lock file of this version of hftool, or is damaged", "Make it again")
    return Lock(path, entries)


def holding() -> Lock | None:
    """The lock that holds in this process, or None. Raises what `read_lock` raises."""
    path = os.environ.get(VARIABLE)
    return read_lock(Path(path)) if path else None
