"""Checkpoints: written so that a crash at any moment leaves the older ones whole, and read only when every byte is right.

A checkpoint is written into a temporary folder, each file synced, `MANIFEST.json` (sizes and SHA-256) last, then the
folder is renamed and its parent synced; only then are older ones removed. Everything is safetensors and JSON: resuming
never unpickles.
"""

import json
import os
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model

from hftool.errors import ConfigError, StorageError
from hftool.run import sync_folder
from hftool.safety import sha256

MANIFEST = "MANIFEST.json"
FILES = ("model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json")
NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Store:
    """The checkpoints of one run: `keep` newest ones and the best."""

    folder: Path
    keep: int = 2

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> Path:
        """Write the checkpoint of state["step"], then remove older ones. Raises StorageError; older ones stay whole."""
        step = int(state["step"])
        target = self.folder / f"step-{step:06d}"
        part = self.folder / f".tmp-{step}-{os.getpid()}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_model(model, str(part / "model.safetensors"))
            tensors, plain = pack_optimizer(optimizer)
            save_file(tensors, str(part / "optimizer.safetensors"))
            generators, python = pack_generators()
            save_file(generators, str(part / "rng.safetensors"))
            document = {**state, "optimizer": plain, "python_random": python}
            (part / "state.json").write_text(json.dumps(document), encoding="utf-8")
            seal(part)
            if target.exists():
                os.rename(target, part.with_name(f"{part.name}-old"))
            os.rename(part, target)
            sync_folder(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
            shutil.rmtree(part, ignore_errors=True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StorageError(
                f"the checkpoint of step {step} could not be written: {reason} ({_free_bytes(self.folder)} bytes free); "
                "older ones are whole",
                "Free some space and start again",
            ) from error
        self.rotate(best=int(state.get("best_step", 0)))
        return target

    def steps(self) -> list[int]:
        """Steps that have a folder, oldest first; none of them is verified yet."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := NAME.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step-{step:06d}"

    def rotate(self, *, best: int) -> None:
        """Remove all but the newest `keep` and the best, and what a crash left behind."""
        for step in self.steps()[: -self.keep]:
            if step != best:
                shutil.rmtree(self.path(step), ignore_errors=True)
        for rest in self.folder.glob(".tmp-*"):
            shutil.rmtree(rest, ignore_errors=True)

    def find(self, which: str) -> Path:
        """`best`, `last` or `step-000400` -> a verified folder. Raises ConfigError that lists what there is."""
        steps = self.steps()
        wanted = self.path(int(m[1])) if (m := NAME.fullmatch(which)) else None
        if which == "last" and steps:
            wanted = self.path(steps[-1])
        if which == "best" and steps:
            verify(self.path(steps[-1]))  # it says which one is best
            wanted = self.path(int(read_state(self.path(steps[-1])).get("best_step", 0)) or steps[-1])
        if wanted is None or not wanted.is_dir():
            have = ", ".join(f"step-{step:06d}" for step in steps) or "none"
            raise ConfigError(f"'{self.folder}' has no checkpoint '{which}'; it has: {have}", "Use best, last or one of these")
        verify(wanted)
        return wanted


def _free_bytes(folder: Path) -> int:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def seal(folder: Path) -> None:
    """Sync every file, then write MANIFEST.json with their sizes and SHA-256, then sync the folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        with open(path, "rb+") as handle:
            os.fsync(handle.fileno())
    with open(folder / MANIFEST, "w", encoding="utf-8") as handle:
        json.dump({"files": files}, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    sync_folder(folder)


def verify(folder: Path) -> None:
    """Raise ConfigError, "damaged", unless every file has the size and SHA-256 of the manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        bad = sorted(set(FILES) - set(files)) or [
            name
            for name, row in files.items()
            if (folder / name).stat().st_size != row["bytes"] or sha256(folder / name) != row["sha256"]
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {error}", "Use an older one") from None
    if bad:
        raise ConfigError(
            f"the checkpoint '{folder}' is damaged: {', '.join(bad)} changed after it was written", "Use an older one"
        )


def read_state(folder: Path) -> dict[str, Any]:
    """The state.json of a checkpoint. Raises ConfigError."""
    try:
        loaded: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {error}", "Use an older one") from None
    return loaded


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Put the weights of a checkpoint into a model of the same shape. Raises ConfigError when they do not fit."""
    try:
        missing, unexpected = load_model(model, str(folder / "model.safetensors"))
    except RuntimeError as error:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {' '.join(str(error).split())[:300]}") from None
    if missing or unexpected:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {sorted([*missing, *unexpected])[:5]}")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of an optimizer as tensors for safetensors and the rest for JSON; `unpack_optimizer` reverses it."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                scalars[f"{index}.{key}"] = value
    return tensors, {"scalars": scalars}


def unpack_optimizer(optimizer: torch.optim.Optimizer, folder: Path, plain: dict[str, Any]) -> None:
    """Put back what `pack_optimizer` took; groups and their settings are those of the optimizer itself."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**load_file(str(folder / "optimizer.safetensors")), **plain["scalars"]}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def pack_generators() -> tuple[dict[str, torch.Tensor], list[Any]]:
    """The states of torch's, numpy's and Python's generators."""
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    inner = numpy_state["state"]
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy_key": torch.from_numpy(inner["key"].astype(np.int64)),
        "numpy_rest": torch.tensor([inner["pos"], numpy_state["has_gauss"]]),
        "numpy_gauss": torch.tensor([numpy_state["gauss"]], dtype=torch.float64),
    }
    for i in range(torch.cuda.device_count()):
        tensors[f"cuda_{i}"] = torch.cuda.get_rng_state(i)
    version, words, gauss = random.getstate()
    return tensors, [version, list(words), gauss]


def unpack_generators(folder: Path, python: list[Any]) -> None:
    """Put back what `pack_generators` took."""
    tensors = load_file(str(folder / "rng.safetensors"))
    torch.set_rng_state(tensors["torch"])
    position, has_gauss = tensors["numpy_rest"].tolist()
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "has_gauss": has_gauss,
            "gauss": tensors["numpy_gauss"].item(),
            "state": {"key": tensors["numpy_key"].numpy().astype(np.uint32), "pos": position},
        }
    )
    for i in range(torch.cuda.device_count()):
        if f"cuda_{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda_{i}"], i)
    random.setstate((python[0], tuple(python[1]), python[2]))
