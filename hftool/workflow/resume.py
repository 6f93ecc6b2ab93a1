"""What must be as it was when a run is gone on with."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftool.config import FILES, Config
from hftool.errors import ConfigError, listing

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
        if name in PLACES and _place(now) in (was, _place(was), str(was).partition("@")[0]):
            continue
        if was != now:
            found.append(f"{name} was {_word(was)}, now {_word(now)}")
    if found:
        raise ConfigError(
            f"the run '{run}' was made with other settings: {'; '.join(found)}",
            "Give the ones it began with, or another --out",
        )


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


def _place(word: str | None) -> str | None:
    """A path as a run writes it down; other words as they are."""
    return str(Path(word).expanduser().absolute()) if word and Path(word).expanduser().exists() else word


def _word(value: Any) -> str:
    return "not given" if value is None or value in ((), []) else str(value)


def check_unchanged(recorded: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Raise ConfigError unless data and model are those of the manifest, byte for byte, and the same stand in for others."""
    changed = [path for path, digest in recorded["data"].items() if now["data"].get(path) != digest]
    changed += [name for name, digest in recorded["hashes"].items() if now["hashes"].get(name) != digest]
    changed += [f"{key} ({recorded[key] or 'none'}, now {now[key] or 'none'})" for key in SAME if recorded[key] != now[key]]
    if changed:
        raise ConfigError(
            f"what the run '{run}' was made of has changed: {listing(changed)}",
            "Put it back, or start again with another --out",
        )


SAME = ("stand_in", "revision", "data_revision", "processes")
