"""SHA-256 of files, and the one comparison of files with their expected hashes."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hftool.storage.json_documents import open_plain


@dataclass(frozen=True)
class FolderDiff:
    """How a folder differs from a list of hashes: file names, and the hash found of each changed file."""

    missing: tuple[str, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()

    @property
    def damaged(self) -> tuple[str, ...]:
        """The expected files that are missing or changed."""
        return (*self.missing, *self.changed)

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.added)

    def __str__(self) -> str:
        """At most five names of each kind, such as "config.json missing; a.txt, b.txt changed"."""
        kinds = {"missing": self.missing, "changed": tuple(self.changed), "added": self.added}
        more = {kind: f" and {len(names) - 5} more" if len(names) > 5 else "" for kind, names in kinds.items()}
        return "; ".join(f"{', '.join(names[:5])}{more[kind]} {kind}" for kind, names in kinds.items() if names)


def sha256(path: Path) -> str:
    """SHA-256 of a regular file, as 64 hex digits. Raises Refused for a pipe, a socket or a device, which may never end."""
    with open_plain(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of each of several files. Raises what `sha256` raises."""
    return {path: sha256(path) for path in paths}


def compare_folder(
    folder: Path,
    expected: Mapping[str, str],
    *,
    present: Collection[str] | None = None,
    hasher: Callable[[list[Path]], Mapping[Path, str]] = hash_files,
) -> FolderDiff:
    """Compare the files of a folder with their expected hashes, by relative name; an absolute name is a file elsewhere.

    `present` are the files that count; by default those of `expected`, so that no file counts as added.

    Raises:
        Refused: A listed file is not a regular file.
    """
    found = {name for name in expected if (folder / name).is_file()} if present is None else set(present)
    hashes = hasher([folder / name for name in expected if name in found])
    return compare_hashes({name: hashes.get(folder / name, "") for name in found}, expected)


def compare_hashes(found: Mapping[str, str], expected: Mapping[str, str]) -> FolderDiff:
    """Compare hashes, by file name, with the expected ones."""
    missing, added = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    return FolderDiff(tuple(missing), {n: found[n] for n in expected if n in found and found[n] != expected[n]}, tuple(added))
