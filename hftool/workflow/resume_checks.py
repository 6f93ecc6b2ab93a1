"""What must be as it was when a run is gone on with."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftool.config import FILES, Config
from hftool.data.readers.tables import Table, shard_files
from hftool.errors import ConfigError, listing
from hftool.progress import Progress, notice

# they change when and where something is written, not what is learnt
FREE = frozenset({"workers", "keep", "grace", "save_steps", "save_minutes"})
# left open, these mean whatever was chosen for the run when it began
CHOSEN = frozenset({"head", "lr", "max_length", "max_new_tokens", "prefix"})
PLACES = ("model", "task", *FILES)


def check_same(recorded: Config, wanted: Config, run: Path) -> None:
    """Raise ConfigError, with the list of differences, unless `wanted` asks for the run that `recorded` began."""
    found = []
    for field in dataclasses.fields(Config):
        name = field.name
        was, now = getattr(recorded, name), getattr(wanted, name)
        if name in FREE or (name in CHOSEN and now is None) or (name == "precision" and now == "auto"):
            continue
        if name == "labels" and not now:
            continue
        if name == "device" and was == "cuda" and now.startswith("cuda"):
            continue  # of several processes each has a GPU; how many there are is looked at elsewhere
        if name == "columns":
            was = {role: was.get(role) for role in now}
        if name in PLACES and _is_same_source(was, now):
            continue
        if was != now:
            found.append(f"{name} was {_word(was)}, now {_word(now)}")
    if found:
        raise ConfigError(
            f"the run '{run}' was made with other settings: {'; '.join(found)}",
            "Give the ones it began with, or another --out",
        )


def relocate(recorded: Config, given: Config, made: Mapping[str, Any], run: Path, progress: Progress) -> Config:
    """The settings of a run whose files may have moved since it began.

    A path that is gone is replaced by the one that is given now, or by the one at the same place relative to the run folder; in
    a copy of the whole tree the given one replaces it, too. Whether the content is that of the recorded one is for
    `check_unchanged` to say.

    Args:
        recorded: The settings of the run, with absolute paths.
        given: The settings it is resumed with.
        made: The manifest of the run.
        run: The run folder.
        progress: Told of each path that was replaced.

    Returns:
        The recorded settings, each path as it is now.
    """
    changes: dict[str, str] = {}
    for name in PLACES:
        was, now = getattr(recorded, name), absolute_path(getattr(given, name))
        if not was or not Path(was).is_absolute():
            continue
        moved = _beside(was, made, run)
        if not _exists(was):
            found = next((path for path in (now, moved) if path and _exists(path)), None)
        else:
            found = now if _is_same(moved, now) and not _is_same(was, now) else None
        if found:
            changes[name] = found
            notice(progress, f"{name}: '{found}' is used, which was '{was}'")
    return dataclasses.replace(recorded, **changes)  # type: ignore[arg-type]


def _beside(path: str, made: Mapping[str, Any], run: Path) -> str | None:
    """Where a recorded path is if it moved together with the run folder; None where the run does not say where it was."""
    old = made.get("run")
    return os.path.normpath(run.absolute() / os.path.relpath(path, old)) if isinstance(old, str) and old else None


def as_recorded(settings: Config) -> dict[str, Any]:
    """The settings as the manifest of a run has them."""
    document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return document


def check_recorded(made: Mapping[str, Any], written: Config, run: Path) -> None:
    """Raise ConfigError, with the list of differences, unless the config.yaml of a run says what its manifest does: it is a
    file that people edit. A run of an older hftool has them in config.yaml alone."""
    known, now = made.get("settings", {}), as_recorded(written)
    names = [name for name in now if name in known and name not in FREE]
    found = [f"{name} was {_word(known[name])}, now {_word(now[name])}" for name in names if known[name] != now[name]]
    if found:
        raise ConfigError(
            f"'{run / 'config.yaml'}' was changed after the run began: {'; '.join(found)}",
            "Put it back, or start again with another --out",
        )


def absolute_path(word: str | None) -> str | None:
    """The path of something that exists as a run records it, so that it holds from any folder; other words as they are."""
    return str(Path(word).expanduser().absolute()) if word and _exists(word) else word


def _exists(path: str) -> bool:
    """Whether there is such a file or folder, or any shard of a split such as train-*-of-00002.parquet."""
    return any(part.exists() for part in shard_files(Path(path).expanduser()))


def _is_same_source(was: str | None, now: str | None) -> bool:
    """Whether a recorded word and the one given now name the same thing: a path, or a model of the Hub without its revision."""
    return absolute_path(now) in (was, absolute_path(was), str(was).partition("@")[0]) or _is_same(was, now)


def _is_same(was: str | None, now: str | None) -> bool:
    """Whether two paths lead to the same file or folder, such as one of them through a link."""
    return bool(was and now and Path(was).exists() and Path(now).exists() and Path(was).samefile(now))


def _word(value: Any) -> str:
    return "not given" if value is None or value in ((), []) else str(value)


def check_unchanged(recorded: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Raise ConfigError unless data and model are those of the manifest, byte for byte, and the same stand in for others."""
    changed = _changed_data(recorded, now)
    changed += [name for name, digest in recorded["hashes"].items() if now["hashes"].get(name) != digest]
    changed += [f"{key} ({recorded[key] or 'none'}, now {now[key] or 'none'})" for key in SAME if recorded[key] != now[key]]
    if changed:
        raise ConfigError(
            f"what the run '{run}' was made of has changed: {listing(changed)}",
            "Put it back, or start again with another --out",
        )


def data_files(tables: Mapping[str, Table]) -> dict[str, Path]:
    """The files that tables were read from, by split; of a split in several files by split and name."""
    found: dict[str, Path] = {}
    for split, table in tables.items():
        files = [path.absolute() for path in shard_files(Path(table.path)) if path.is_file()]
        found |= {split if len(files) == 1 else f"{split}/{path.name}": path for path in files}
    return found


def _changed_data(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The data files that are not as they were, wherever they lie now: by their splits, or in the manifests of older versions,
    which have paths as they were typed, by the end of the path."""
    splits, paths = recorded.get("data_splits"), recorded["data"]
    if splits is not None:
        changed = {digest for split, digest in splits.items() if now["data_splits"].get(split) != digest}
        return [path for path, digest in paths.items() if digest in changed] or sorted(changed)
    return [path for path, digest in paths.items() if not _is_among(path, digest, now["data"])]


def _is_among(path: str, digest: str, files: Mapping[str, str]) -> bool:
    """Whether one of the files, by absolute path to hash, is this one."""
    if path in files:
        return files[path] == digest
    end = Path(path).parts[-1:] if Path(path).is_absolute() else Path(os.path.normpath(path)).parts
    end = tuple(part for part in end if part != os.pardir)
    return any(known == digest and Path(place).parts[-len(end) :] == end for place, known in files.items())


SAME = ("stand_in", "revision", "data_revision", "processes")
