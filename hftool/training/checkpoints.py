"""Checkpoints: written so that a crash at any moment leaves the older ones whole, and read only when every byte is right.

A checkpoint is written into a temporary folder, each file synced, `MANIFEST.json` (sizes and SHA-256) last, then the
folder is renamed and its parent synced; only then are older ones removed. Everything is safetensors and JSON: resuming
never unpickles.
"""

import json
import os
import random
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model

from hftool.errors import ConfigError, DataError, HftoolError, InputMissing, Refused, StorageError
from hftool.safety import sha256
from hftool.storage import atomic
from hftool.storage.json_documents import read_document
from hftool.training.checkpoint_schema import PYTHON, SEALED, STATE
from hftool.training.optimizer import pack_optimizer

MANIFEST = "MANIFEST.json"
OPTIMIZER = "optimizer.safetensors"
WEIGHTY = ("model.safetensors", OPTIMIZER)  # an evaluation leaves them as they are
FILES = (*WEIGHTY, "rng.safetensors", "state.json")
NAME = re.compile(r"step-(\d{6,})")
Generators = dict[str, list[Any]]  # the states of the generators of a process, as numbers: they travel between processes


@dataclass(frozen=True)
class CheckpointManager:
    """The checkpoints of one run: `keep` newest ones, and what each of them says is the best."""

    folder: Path
    keep: int = 2

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        generators: Sequence[Generators] | None = None,
    ) -> Path:
        """Write the checkpoint of state["step"], then remove older ones. Raises StorageError; older ones stay whole.

        generators: those of every process, in their order; by default those of this one.
        """

        def fill(part: Path) -> None:
            made = generators or [pack_generators()]
            document = {**state, "optimizer": _write_tensors(part, model, optimizer), PYTHON: _write_generators(part, made)}
            atomic.write(part / "state.json", json.dumps(document).encode("utf-8"))
            write_manifest(part)

        return self._put(int(state["step"]), fill, checkpoint_bytes(model))

    def amend(self, state: dict[str, Any], generators: Sequence[Generators]) -> Path:
        """Another state and other generators for the checkpoint of state["step"]; its weights and its optimizer are not written
        again but linked. Raises StorageError; until all is there, the checkpoint is as it was."""
        target = self.path(int(state["step"]))

        def fill(part: Path) -> None:
            known = json.loads((target / MANIFEST).read_text(encoding="utf-8"))["files"]
            for name in WEIGHTY:
                atomic.link(target / name, part / name)
            document = {**state, "optimizer": read_state(target)["optimizer"], PYTHON: _write_generators(part, generators)}
            atomic.write(part / "state.json", json.dumps(document).encode("utf-8"))
            write_manifest(part, {name: known[name] for name in WEIGHTY})

        return self._put(int(state["step"]), fill, 2**16)

    def with_optimizers(self) -> list[int]:
        """Steps whose checkpoints hold the state of the optimizer."""
        return [step for step in self.steps() if (self.path(step) / OPTIMIZER).is_file()]

    def release(self) -> None:
        """Remove the state of the optimizer from every checkpoint of a finished run: training never goes on from them. Weights
        and all else stay, and each checkpoint is whole at any moment. Raises StorageError."""
        self._reattach()  # of a process that was killed here
        for step in self.with_optimizers():
            self._put(step, partial(_fill_without_optimizer, self.path(step)), 2**16)
        self.rotate()

    def _put(self, step: int, fill: Callable[[Path], None], need: int) -> Path:
        """A checkpoint that `fill` writes, under its name; need: about how many bytes it takes."""
        target, part = self.path(step), self.folder / f".tmp-{step}-{os.getpid()}"
        try:
            atomic.remove_folder(part)
            atomic.make_folder(part)
            fill(part)
            if target.exists():
                self._detach(step)
            atomic.rename(part, target)
            atomic.sync_folder(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
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
        """Steps that have a folder, oldest first; none of them is verified yet."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for p in self.folder.iterdir() if (m := NAME.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step-{step:06d}"

    def _detach(self, step: int) -> None:
        """Take a checkpoint's name away before it is removed: half of one must never look like one that was damaged."""
        aside = self.folder / f".tmp-{step}-{os.getpid()}-old"
        atomic.remove_folder(aside)
        atomic.rename(self.path(step), aside)

    def _reattach(self) -> None:
        """Give a whole checkpoint that was put aside its name again where the one to come in its place never came: a process
        was killed between the two renames."""
        for step, aside in self._aside().items():
            atomic.rename(aside, self.path(step))

    def _aside(self) -> dict[int, Path]:
        """Whole checkpoints that were put aside and have no successor, by their steps."""
        there = set(self.steps())
        named = ((int(path.name.split("-")[1]), path) for path in sorted(self.folder.glob(".tmp-*-old")))
        return {step: path for step, path in named if step not in there and not _trouble_of(path)}

    def rotate(self) -> None:
        """Remove all but the newest `keep` and the best of each of these, and what a crash left behind.

        With the best of all that are kept, and not of the newest alone, the one before it can be gone on with.
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
        """The best that a checkpoint names; 0 where it is too damaged to say: only what is gone on with is verified."""
        try:
            return int(read_state(self.path(step)).get("best_step", 0))
        except (ConfigError, AttributeError, TypeError, ValueError):
            return 0

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """The newest checkpoint of which every byte is right, and of the best that it names; None where there is none.

        One that is damaged is renamed, so that it is never taken again, and said. A whole one of a later step is renamed when
        another is gone on with: else rotation would keep it for the newest. Raises DataError when there is none to go on with;
        then all stay as they are.
        """
        self._reattach()
        steps, trouble = self.steps(), dict[int, str]()

        def is_whole(step: int) -> bool:
            trouble[step] = trouble[step] if step in trouble else _trouble_of(self.path(step))
            return not trouble[step]

        chosen = next((step for step in reversed(steps) if is_whole(step) and is_whole(self._best_of(step) or step)), None)
        for detail in filter(None, trouble.values()):
            say(detail if chosen is None else f"{detail}: step-{chosen:06d} is used")
        if chosen is None:
            if steps:
                raise self._lost()
            return None
        for step in steps:
            if step > chosen or trouble.get(step):
                atomic.rename(self.path(step), self._free_name(step))
        return self.path(chosen)

    def check_best(self, step: int) -> None:
        """Raise DataError unless the checkpoint of this step, which is the best, is whole."""
        if _trouble_of(self.path(step)):
            raise self._lost(step)

    def _lost(self, best: int | None = None) -> DataError:
        """The error where the best checkpoint is damaged; by default the one that the newest whole one names."""
        whole = [step for step in self.steps() if not _trouble_of(self.path(step))]
        if not whole:
            return DataError(f"every checkpoint in '{self.folder}' is damaged", "Start again with another --out")
        best = best or self._best_of(whole[-1])
        what = "is damaged" if self.path(best).is_dir() else "is not there"
        names = [self.path(step).name for step in whole]
        return DataError(
            f"the best checkpoint '{self.path(best)}' {what}; whole: {', '.join(names)}",
            f"Keep one of these: hftool save {shlex.quote(str(self.folder.parent))} --checkpoint {names[-1]} --out DIR",
        )

    def _free_name(self, step: int) -> Path:
        names = (self.folder / f".bad-step-{step:06d}{f'-{n}' if n else ''}" for n in range(10_000))
        return next(name for name in names if not name.exists())

    def find(self, which: str) -> Path:
        """`best`, `last` or `step-000400` -> a verified folder. Raises ConfigError that lists what there is, DataError where
        the best of them is damaged."""
        aside = self._aside()
        places = {**{step: self.path(step) for step in self.steps()}, **aside}
        steps = sorted(places)
        wanted = int(m[1]) if (m := NAME.fullmatch(which)) else None
        if which == "last" and steps:
            wanted = steps[-1]
        if which == "best" and steps:
            verify(places[steps[-1]])  # it says which one is best
            best = int(read_state(places[steps[-1]]).get("best_step", 0)) or steps[-1]
            if best not in aside:
                self.check_best(best)
            return places[best]
        if wanted not in places:
            have = ", ".join(f"step-{step:06d}" for step in steps) or "none"
            raise ConfigError(f"'{self.folder}' has no checkpoint '{which}'; it has: {have}", "Use best, last or one of these")
        if wanted not in aside:
            verify(places[wanted])
        return places[wanted]


def _fill_without_optimizer(source: Path, part: Path) -> None:
    known = json.loads((source / MANIFEST).read_text(encoding="utf-8"))["files"]
    kept = {name: row for name, row in known.items() if name != OPTIMIZER}
    for name in kept:
        atomic.link(source / name, part / name)
    write_manifest(part, kept, released=True)


def _write_tensors(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Weights and optimizer as safetensors -> what of the optimizer goes into state.json."""
    tensors, plain = pack_optimizer(optimizer)
    with atomic.writing(folder / "model.safetensors"):
        save_model(model, str(folder / "model.safetensors"))
    with atomic.writing(folder / "optimizer.safetensors"):
        save_file(tensors, str(folder / "optimizer.safetensors"))
    return plain


def _write_generators(folder: Path, generators: Sequence[Generators]) -> list[Any]:
    """The generators of each process as safetensors -> Python's, which go into state.json."""
    states = {
        f"{rank}.{name}": torch.tensor(numbers, dtype=torch.int64 if name.startswith("numpy") else torch.uint8)
        for rank, made in enumerate(generators)
        for name, numbers in made.items()
        if name != PYTHON
    }
    with atomic.writing(folder / "rng.safetensors"):
        save_file(states, str(folder / "rng.safetensors"))
    return [made[PYTHON] for made in generators]


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """About what a checkpoint takes: the weights, and at most two numbers for each that learns."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return weights + 2 * sum(p.numel() * 4 for p in model.parameters() if p.requires_grad) + 2**16


def write_manifest(folder: Path, known: Mapping[str, dict[str, Any]] | None = None, *, released: bool = False) -> None:
    """Sync every file, then write MANIFEST.json with their sizes and SHA-256, then sync the folder. known: what it is to say of
    files that were sealed before. released: whether the state of the optimizer is left out."""
    files = dict(known or {})
    for path in sorted(folder.iterdir()):
        if path.name not in files:
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        atomic.sync_file(path)
    document = {"files": files, "released": True} if released else {"files": files}
    atomic.write(folder / MANIFEST, json.dumps(document, indent=2).encode("utf-8"))
    atomic.sync_folder(folder)


def verify(folder: Path) -> None:
    """Raise ConfigError, "damaged", unless every file has the size and SHA-256 of the manifest."""
    if not folder.is_dir():
        raise ConfigError(f"the checkpoint '{folder}' is not there", "Use another one")
    try:
        sealed = read_document(folder / MANIFEST, SEALED)
        files = sealed["files"]
        bad = sorted(set(FILES) - set(files) - ({OPTIMIZER} if sealed.get("released") else set())) or [
            name
            for name, row in files.items()
            if (folder / name).stat().st_size != row["bytes"] or sha256(folder / name) != row["sha256"]
        ]
    except (OSError, InputMissing, DataError, Refused) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {_reason(error)}", "Use another one") from None
    if bad:
        raise ConfigError(
            f"the checkpoint '{folder}' is damaged: {', '.join(bad)} changed after it was written", "Use another one"
        )


def _trouble_of(folder: Path) -> str:
    """What is wrong with a checkpoint, in a sentence; empty where every byte of it is right."""
    try:
        verify(folder)
    except ConfigError as error:
        return error.detail
    return ""


def read_state(folder: Path) -> dict[str, Any]:
    """The state.json of a checkpoint. Raises ConfigError."""
    try:
        loaded: dict[str, Any] = read_document(folder / "state.json", STATE)
    except (InputMissing, DataError, Refused) as error:
        raise ConfigError(f"the checkpoint '{folder}' is damaged: {_reason(error)}", "Use another one") from None
    return loaded


def _reason(error: Exception) -> str:
    """What an error says, without its hint: another one is given."""
    return error.detail if isinstance(error, HftoolError) else str(error)


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Put the weights of a checkpoint into a model of the same shape. Raises ConfigError when they do not fit."""
    try:
        missing, unexpected = load_model(model, str(folder / "model.safetensors"))
    except RuntimeError as error:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {' '.join(str(error).split())[:300]}") from None
    if missing or unexpected:
        raise ConfigError(f"the checkpoint '{folder}' does not fit: {sorted([*missing, *unexpected])[:5]}")


def pack_generators() -> Generators:
    """The states of torch's, numpy's and Python's generators."""
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    inner = numpy_state["state"]
    version, words, gauss = random.getstate()
    devices = {f"cuda_{i}": torch.cuda.get_rng_state(i).tolist() for i in range(torch.cuda.device_count())}
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy_key": inner["key"].tolist(),
        "numpy_rest": [inner["pos"], numpy_state["has_gauss"]],
        "numpy_gauss": [_bits(numpy_state["gauss"])],
        PYTHON: [version, list(words), gauss],
        **devices,
    }


def _bits(number: float) -> int:
    """A float as the integer of its 64 bits: torch would make a tensor of floats fp32."""
    return int(np.float64(number).view(np.int64))


def load_generators(folder: Path, rank: int = 0) -> None:
    """Put back the generators that a checkpoint has of the process with this number. Raises ConfigError: it has none."""
    python = read_state(folder)[PYTHON]
    if rank >= len(python):
        raise ConfigError(f"'{folder}' was saved by {len(python)} processes", f"Go on with --processes {len(python)}")
    stored = load_file(str(folder / "rng.safetensors"))
    tensors = {name.partition(".")[2]: value for name, value in stored.items() if name.startswith(f"{rank}.")}
    torch.set_rng_state(tensors["torch"].to(torch.uint8))
    position, has_gauss = tensors["numpy_rest"].tolist()
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "has_gauss": has_gauss,
            "gauss": float(np.int64(tensors["numpy_gauss"].item()).view(np.float64)),
            "state": {"key": tensors["numpy_key"].numpy().astype(np.uint32), "pos": position},
        }
    )
    for i in range(torch.cuda.device_count()):
        if f"cuda_{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda_{i}"].to(torch.uint8), i)
    version, words, gauss = python[rank]
    random.setstate((version, tuple(words), gauss))
