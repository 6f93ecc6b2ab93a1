"""Checks before a run is resumed: settings, data and model must be as they were."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftool.config import FILES, Config
from hftool.data.readers.containers import join_part, split_part
from hftool.data.readers.databases import is_database_url, without_sqlite_url
from hftool.data.readers.tables import Table, disk_files
from hftool.errors import ConfigError, listing
from hftool.progress import Progress, notice
from hftool.storage.checksums import compare_hashes
from hftool.storage.stand_ins import as_texts, read_stand_ins
from hftool.workflow.in_memory import task_of

# they change when and where files are written, not what is trained
FREE = frozenset({"workers", "keep", "grace", "save_steps", "save_minutes"})
# left open, these mean the value that was chosen when the run started
CHOSEN = frozenset({"head", "batch_size", "lr", "max_length", "max_new_tokens", "prefix"})
SOURCES = ("model", "task", *FILES)


def check_same(recorded: Config, wanted: Config, run: Path) -> None:
    """Raise ConfigError, with the list of differences, unless `wanted` is the run that `recorded` started."""
    found = []
    for field in dataclasses.fields(Config):
        name = field.name
        was, now = getattr(recorded, name), getattr(wanted, name)
        if name in FREE or (name in CHOSEN and now is None) or (name == "precision" and now == "auto"):
            continue
        if name == "labels" and not now:
            continue
        if name == "device" and was == "cuda" and now.startswith("cuda"):
            continue  # each of several processes has a GPU; their number is checked elsewhere
        if name == "columns":
            was = {role: was.get(role) for role in now}
        if name in SOURCES and _is_same_source(was, now):
            continue
        if was != now:
            found.append(f"{name} was {_word(was)}, now {_word(now)}")
    if found:
        what = f"the run '{run}' was trained with other settings: {'; '.join(found)}"
        raise ConfigError(what, "Give those it started with, or another --out")


def relocate(recorded: Config, given: Config, manifest: Mapping[str, Any], run: Path, progress: Progress) -> Config:
    """The recorded settings of a run whose files may have moved, each path as it is now.

    A missing path is replaced by the one that the run is resumed with, or by the one at the same relative position to the run
    folder; in a copy of the whole tree the given one replaces it, too. Each is a notice. `check_unchanged` then compares the
    contents.
    """
    changes: dict[str, str] = {}
    for name in SOURCES:
        was, now = getattr(recorded, name), absolute_path(getattr(given, name))
        if not was or not Path(was).is_absolute():
            continue
        moved = _beside(was, manifest, run)
        if not _exists(was):
            found = next((path for path in (now, moved) if path and _exists(path)), None)
        else:
            found = now if _is_same(moved, now) and not _is_same(was, now) else None
        if found:
            changes[name] = found
            notice(progress, f"{name}: '{found}' is used, which was '{was}'")
    return dataclasses.replace(recorded, **changes)  # type: ignore[arg-type]


def _beside(path: str, manifest: Mapping[str, Any], run: Path) -> str | None:
    """A recorded path, if it moved together with the run folder; None where the run did not record its folder."""
    old = manifest.get("run")
    if not isinstance(old, str) or not old:
        return None
    file, part = split_part(path)
    return join_part(Path(os.path.normpath(run.absolute() / os.path.relpath(file, old))), part)


def as_recorded(settings: Config) -> dict[str, Any]:
    """The settings as the manifest of a run holds them."""
    document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return document


def check_recorded(manifest: Mapping[str, Any], edited: Config, run: Path) -> None:
    """Raise ConfigError, with the differences, where config.yaml of a run differs from the settings in its manifest, if any."""
    known, now = manifest.get("settings", {}), as_recorded(edited)
    names = [name for name in now if name in known and name not in FREE]
    found = [f"{name} was {_word(known[name])}, now {_word(now[name])}" for name in names if known[name] != now[name]]
    if found:
        what = f"'{run / 'config.yaml'}' was changed after the run started: {'; '.join(found)}"
        raise ConfigError(what, "Put it back, or start again with another --out")


def absolute_path(word: str | None) -> str | None:
    """An existing path as a run records it, valid from any folder; anything else unchanged."""
    if not word or not _exists(word):
        return word
    file, part = split_part(without_sqlite_url(word))
    return join_part(file.expanduser().absolute(), part)


def _exists(path: str) -> bool:
    """Whether there is such a file or folder, or any shard of a split such as train-*-of-00002.parquet."""
    return any(file.expanduser().exists() for file in disk_files(path))


def _is_same_source(was: str | None, now: str | None) -> bool:
    """Whether a recorded name and the one given now are the same: a path, or a model of the Hub without its revision."""
    return absolute_path(now) in (was, absolute_path(was), str(was).partition("@")[0]) or _is_same(was, now)


def _is_same(was: str | None, now: str | None) -> bool:
    """Whether two paths lead to the same file or folder, such as one of them through a link."""
    (one, part), (other, same) = split_part(was or ""), split_part(now or "")
    return bool(was and now and part == same and one.exists() and other.exists() and one.samefile(other))


def _word(value: Any) -> str:
    return "not given" if value is None or value in ((), []) else str(value)


def check_unchanged(recorded: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Raise ConfigError unless data, model and stand-ins are those of the manifest, byte for byte."""
    changed = [*_changed_data(recorded, now), *compare_hashes(now["hashes"], recorded["hashes"]).damaged]
    was, is_now = ({**one, "stand_in": as_texts(read_stand_ins(one["stand_in"]))} for one in (recorded, now))
    changed += [f"{key} ({was[key] or 'none'}, now {is_now[key] or 'none'})" for key in SAME if was[key] != is_now[key]]
    if changed:
        what = f"the data or model of the run '{run}' has changed: {listing(changed)}"
        raise ConfigError(what, "Put it back, or start again with another --out")


def data_files(tables: Mapping[str, Table]) -> dict[str, Path]:
    """The files that tables were read from, by split; of a split in several files by split and name."""
    found: dict[str, Path] = {}
    for split, table in tables.items():
        files = [path.absolute() for path in disk_files(table.path) if path.is_file()]
        found |= {split if len(files) == 1 else f"{split}/{path.name}": path for path in files}
    return found


def row_digests(tables: Mapping[str, Table]) -> dict[str, str]:
    """The fingerprints of the rows that came from a database on a server or from a folder of texts, by split."""
    others = {s: is_database_url(t.path) or any(path.is_dir() for path in disk_files(t.path)) for s, t in tables.items()}
    return {split: task_of(table) for split, table in tables.items() if others[split]}


def _changed_data(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The changed data files, by split; in manifests of older versions, which have paths as typed, by the end of the path."""
    splits, paths = recorded.get("data_splits"), recorded["data"]
    if splits is not None:
        changed = {splits[split] for split in compare_hashes(now["data_splits"], splits).damaged}
        return [path for path, digest in paths.items() if digest in changed] or sorted(changed)
    return [path for path, digest in paths.items() if not _is_among(path, digest, now["data"])]


def _is_among(path: str, digest: str, files: Mapping[str, str]) -> bool:
    """Whether one of the files, by absolute path to hash, is this one."""
    if path in files:
        return files[path] == digest
    end = Path(path).parts[-1:] if Path(path).is_absolute() else Path(os.path.normpath(path)).parts
    end = tuple(part for part in end if part != os.pardir)
    return any(known == digest and Path(name).parts[-len(end) :] == end for name, known in files.items())


SAME = ("stand_in", "revision", "data_revision", "processes")
