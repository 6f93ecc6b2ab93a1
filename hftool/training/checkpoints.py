"""Checkpoints of a run: a crash at any moment leaves older ones intact, and one is read only if its checksums match.

A checkpoint is written into a temporary folder, each file synced, `MANIFEST.json` (sizes and SHA-256) last; then the folder is
renamed and its parent synced, and only then are older ones removed. Everything is safetensors and JSON: resuming never
unpickles.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_file, save_model

from hftool.errors import ConfigError, DataError, HftoolError, InputMissing, Refused, StorageError, brief
from hftool.storage import atomic
from hftool.storage.checksums import FolderDiff, compare_folder, sha256
from hftool.storage.json_documents import read_document
from hftool.training.checkpoint_schema import MANIFEST_SCHEMA, PYTHON, STATE_SCHEMA
from hftool.training.optimizer import pack_optimizer
from hftool.training.random_state import Generators, pack_generators, write_generators

MANIFEST = "MANIFEST.json"
OPTIMIZER = "optimizer.safetensors"
LARGE = ("model.safetensors", OPTIMIZER)  # an evaluation does not change them
FILES = (*LARGE, "rng.safetensors", "state.json")
NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class CheckpointManager:
    """The checkpoints of one run: the newest `keep`, and the best evaluated one that each of these names."""

    folder: Path
    keep: int = 2

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        generators: Sequence[Generators] | None = None,
    ) -> Path:
        """Write the checkpoint of state["step"], with the random state of each process by rank, then remove older ones.

        Raises:
            StorageError: It could not be written; older ones are intact.
        """

        def _fill(part: Path) -> None:
            states = generators or [pack_generators()]
            document = {**state, "optimizer": _write_tensors(part, model, optimizer), PYTHON: write_generators(part, states)}
            atomic.write_file(part / "state.json", json.dumps(document).encode("utf-8"))
            write_manifest(part)

        return self._put(int(state["step"]), _fill, checkpoint_bytes(model))

    def amend(self, state: dict[str, Any], generators: Sequence[Generators]) -> Path:
        """Replace state and generators of the checkpoint of state["step"]; weights and optimizer are linked, not written again.

        Raises:
            StorageError: It could not be written; the checkpoint is unchanged.
        """
        target = self.path(int(state["step"]))

        def _fill(part: Path) -> None:
            known = json.loads((target / MANIFEST).read_text(encoding="utf-8"))["files"]
            for name in LARGE:
                atomic.link(target / name, part / name)
            document = {**state, "optimizer": read_state(target)["optimizer"], PYTHON: write_generators(part, generators)}
            atomic.write_file(part / "state.json", json.dumps(document).encode("utf-8"))
            write_manifest(part, {name: known[name] for name in LARGE})

        return self._put(int(state["step"]), _fill, 2**16)

    def with_optimizers(self) -> list[int]:
        """Steps whose checkpoints have the state of the optimizer."""
        return [step for step in self.steps() if (self.path(step) / OPTIMIZER).is_file()]

    def release(self) -> None:
        """Remove the state of the optimizer from every checkpoint of a finished run, which is never continued.

        Each checkpoint is intact at any moment. Raises StorageError.
        """
        self._reattach()  # a process may have been killed here
        for step in self.with_optimizers():
            self._put(step, partial(_fill_without_optimizer, self.path(step)), 2**16)
        self.rotate()

    def _put(self, step: int, fill: Callable[[Path], None], need: int) -> Path:
        """Put the checkpoint that `fill` writes under its name. need: its approximate size in bytes."""
        target, part = self.path(step), self.folder / f".tmp-{step}-{os.getpid()}"
        try:
            atomic.remove_folder(part)
            atomic.make_folder(part)
            fill(part)
            if target.exists():
                self._detach(step)
            atomic.rename(part, target)
            atomic.sync_folder(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
            atomic.remove_folder(part)
            raise self._not_written(step, error, need) from error
        self.rotate()
        return target

    def _not_written(self, step: int, error: Exception, need: int) -> StorageError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        have = f"{need} bytes needed, {atomic.free_bytes(self.folder)} free"
        return StorageError(
            f"the checkpoint of step {step} could not be written into '{self.folder}': {reason} ({have}); older ones are whole",
            f"Free some space, then: hftool resume {shlex.quote(str(self.folder.parent))}",
        )

    def steps(self) -> list[int]:
        """Steps that have a folder, oldest first, unverified."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := NAME.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step-{step:06d}"

    def _detach(self, step: int) -> None:
        """Rename a checkpoint before it is removed: a half-removed one must not look like a damaged one."""
        aside = self.folder / f".tmp-{step}-{os.getpid()}-old"
        atomic.remove_folder(aside)
        atomic.rename(self.path(step), aside)

    def _reattach(self) -> None:
        """Restore the name of an intact detached checkpoint: a process was killed between the two renames."""
        for step, aside in self._aside().items():
            atomic.rename(aside, self.path(step))

    def _aside(self) -> dict[int, Path]:
        """Intact detached checkpoints that were not replaced, by step."""
        existing = set(self.steps())
        named = ((int(path.name.split("-")[1]), path) for path in sorted(self.folder.glob(".tmp-*-old")))
        return {step: path for step, path in named if step not in existing and not _damage(path)}

    def rotate(self) -> None:
        """Remove all but the newest `keep` and the best of each of these, and what a crash left behind.

        The best of each is kept, not only that of the newest, so that a run can be resumed from an older one, too.
        """
        steps = self.steps()
        kept = set(steps[-self.keep :])
        kept |= {self._best_of(step) for step in kept}
        for step in steps:
            if step not in kept:
                self._detach(step)
        for rest in sorted(self.folder.glob(".tmp-*")):
            atomic.remove_folder(rest)

    def _best_of(self, step: int) -> int:
        """The best step that a checkpoint names; 0 where it cannot be read: only the one to resume from is verified."""
        try:
            return int(read_state(self.path(step)).get("best_step", 0))
        except (ConfigError, AttributeError, TypeError, ValueError):
            return 0

    def newest(self, notice: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is intact together with the best one that it names; None if there is no checkpoint.

        Damaged ones are renamed, so that they are not tried again, and so are intact ones of later steps: rotation would keep
        them as the newest. `notice` is called with a sentence for each damaged one.

        Raises:
            DataError: None of them is usable; all are left unchanged.
        """
        self._reattach()
        steps, damage = self.steps(), dict[int, str]()

        def _is_whole(step: int) -> bool:
            damage[step] = damage[step] if step in damage else _damage(self.path(step))
            return not damage[step]

        chosen = next((step for step in reversed(steps) if _is_whole(step) and _is_whole(self._best_of(step) or step)), None)
        for detail in filter(None, damage.values()):
            notice(detail if chosen is None else f"{detail}: step-{chosen:06d} is used")
        if chosen is None:
            if steps:
                raise self._damaged_best()
            return None
        for step in steps:
            if step > chosen or damage.get(step):
                atomic.rename(self.path(step), self._free_name(step))
        return self.path(chosen)

    def check_best(self, step: int) -> None:
        """Raise DataError unless the checkpoint of this step, the best one, is intact."""
        if _damage(self.path(step)):
            raise self._damaged_best(step)

    def _damaged_best(self, best: int | None = None) -> DataError:
        """The error for a damaged best checkpoint; by default the one that the newest intact one names."""
        whole = [step for step in self.steps() if not _damage(self.path(step))]
        if not whole:
            return DataError(f"every checkpoint in '{self.folder}' is damaged", "Start again with another --out")
        best = best or self._best_of(whole[-1])
        what = "is damaged" if self.path(best).is_dir() else "is missing"
        names = [self.path(step).name for step in whole]
        return DataError(
            f"the best checkpoint '{self.path(best)}' {what}; whole: {', '.join(names)}",
            f"Keep one of these: hftool save {shlex.quote(str(self.folder.parent))} --checkpoint {names[-1]} --out DIR",
        )

    def _free_name(self, step: int) -> Path:
        names = (self.folder / f".bad-step-{step:06d}{f'-{n}' if n else ''}" for n in range(10_000))
        return next(name for name in names if not name.exists())

    def find(self, which: str) -> Path:
        """The verified folder of a checkpoint: `best`, `last` or a name such as `step-000400`.

        Raises:
            ConfigError: There is no such checkpoint; the error lists those that exist.
            DataError: The best one is damaged.
        """
        aside = self._aside()
        folders = {**{step: self.path(step) for step in self.steps()}, **aside}
        steps = sorted(folders)
        wanted = int(m[1]) if (m := NAME.fullmatch(which)) else None
        if which == "last" and steps:
            wanted = steps[-1]
        if which == "best" and steps:
            verify_checkpoint(folders[steps[-1]])  # it names the best one
            best = int(read_state(folders[steps[-1]]).get("best_step", 0)) or steps[-1]
            if best not in aside:
                self.check_best(best)
            return folders[best]
        if wanted not in folders:
            have = ", ".join(f"step-{step:06d}" for step in steps) or "none"
            raise ConfigError(f"'{self.folder}' has no checkpoint '{which}'; it has: {have}", "Use best, last or one of these")
        if wanted not in aside:
            verify_checkpoint(folders[wanted])
        return folders[wanted]


def _fill_without_optimizer(source: Path, part: Path) -> None:
    known = json.loads((source / MANIFEST).read_text(encoding="utf-8"))["files"]
    kept = {name: row for name, row in known.items() if name != OPTIMIZER}
    for name in kept:
        atomic.link(source / name, part / name)
    write_manifest(part, kept, released=True)


def _write_tensors(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Write weights and optimizer as safetensors -> the part of the optimizer's state for state.json."""
    tensors, plain = pack_optimizer(optimizer)
    with atomic.writing(folder / "model.safetensors"):
        save_model(model, str(folder / "model.safetensors"))
    with atomic.writing(folder / "optimizer.safetensors"):
        save_file(tensors, str(folder / "optimizer.safetensors"))
    return plain


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """The approximate size of a checkpoint: the weights, and at most two numbers for each trainable one."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return weights + 2 * sum(p.numel() * 4 for p in model.parameters() if p.requires_grad) + 2**16


def write_manifest(folder: Path, known: Mapping[str, dict[str, Any]] | None = None, *, released: bool = False) -> None:
    """Sync every file, then write MANIFEST.json with their sizes and SHA-256 (`known`: of files that were hashed before)."""
    files = dict(known or {})
    for path in sorted(folder.iterdir()):
        if path.name not in files:
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        atomic.sync_file(path)
    document = {"files": files, "released": True} if released else {"files": files}
    atomic.write_file(folder / MANIFEST, json.dumps(document, indent=2).encode("utf-8"))
    atomic.sync_folder(folder)


def verify_checkpoint(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by name. Raises ConfigError, "damaged", unless every file is as the manifest has it."""
    if not folder.is_dir():
        raise ConfigError(f"the checkpoint '{folder}' is missing", "Use another one")
    try:
        manifest = read_document(folder / MANIFEST, MANIFEST_SCHEMA)
        files = manifest["files"]
        unlisted = set(FILES) - set(files) - ({OPTIMIZER} if manifest.get("released") else set())
        resized = {name: "" for name, row in files.items() if (folder / name).stat().st_size != row["bytes"]}
        diff = FolderDiff(tuple(sorted(unlisted)), resized)
        hashes = {name: str(row["sha256"]) for name, row in files.items()}
        diff = diff or compare_folder(folder, hashes)
    except (OSError, InputMissing, DataError, Refused) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {_reason(error)}", "Use another one") from None
    if diff:
        when = " after it was written" if diff.changed else ""
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {diff}{when}", "Use another one")
    return hashes


def _damage(folder: Path) -> str:
    """A sentence about the damage of a checkpoint; empty if it is intact."""
    try:
        verify_checkpoint(folder)
    except ConfigError as error:
        return error.detail
    return ""


def read_state(folder: Path) -> dict[str, Any]:
    """The state.json of a checkpoint. Raises ConfigError."""
    try:
        loaded: dict[str, Any] = read_document(folder / "state.json", STATE_SCHEMA)
    except (InputMissing, DataError, Refused) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {_reason(error)}", "Use another one") from None
    return loaded


def _reason(error: Exception) -> str:
    """The message of an error without its hint, which is replaced."""
    return error.detail if isinstance(error, HftoolError) else str(error)


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Load the weights of a checkpoint into a model. Raises ConfigError when they do not fit."""
    try:
        missing, unexpected = load_model(model, str(folder / "model.safetensors"))
    except RuntimeError as error:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {brief(error, 300)}") from None
    if missing or unexpected:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {sorted([*missing, *unexpected])[:5]}")
