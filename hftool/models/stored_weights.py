"""The tensors of a model folder's safetensors files: their names, and single tensors by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import DataError, brief

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# wrappers that torch.compile, DistributedDataParallel, FSDP and activation checkpointing leave in the names of weights
WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
CHUNK = 4096  # rows that are compared at a time


@dataclass(frozen=True)
class Stored:
    """The weights of a folder."""

    files: Mapping[str, Path]  # Name, without wrappers, to the file that holds it
    # name in the file to the name without wrappers, where the two differ; empty where two names would collide
    renamed: Mapping[str, str]

    @property
    def note(self) -> str:
        """A note for the user about wrappers in the names; empty where there are none."""
        found = sorted({part for name in self.renamed for part in name.split(".")} & WRAPPERS)
        names = " and ".join(f"'{part}.'" for part in found)
        return f"the names of the weights have {names}, left by a wrapper of torch: they are read and saved without" * bool(
            found
        )

    def tensor(self, name: str) -> Any:
        """A weight in fp32. Raises KeyError when there is none of this name."""
        with self._open(name) as file:
            return file.get_tensor(self._raw(name)).float()

    def are_equal(self, one: str, other: str) -> bool:
        """Whether two weights are equal, read in chunks, since an embedding may have a gigabyte."""
        import torch

        with self._open(one) as first, self._open(other) as second:
            left, right = first.get_slice(self._raw(one)), second.get_slice(self._raw(other))
            if left.get_shape() != right.get_shape():
                return False
            starts = range(0, (left.get_shape() or [0])[0], CHUNK)
            return all(torch.equal(left[i : i + CHUNK], right[i : i + CHUNK]) for i in starts)

    def _open(self, name: str) -> Any:
        from safetensors import safe_open

        return safe_open(self.files[name], framework="pt")

    def _raw(self, name: str) -> str:
        return next((raw for raw, clean in self.renamed.items() if clean == name), name)


def read_stored(folder: Path) -> Stored:
    """The weights in the files that transformers would load from a checked folder, without adapters. Raises DataError."""
    from safetensors import SafetensorError, safe_open

    raw: dict[str, Path] = {}
    for path in _files_of(folder):
        try:
            with safe_open(path, framework="pt") as file:
                raw |= dict.fromkeys(file.keys(), path)
        except SafetensorError as error:
            raise DataError(f"the weights in '{folder}' cannot be read: {brief(error)}") from error
    clean = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in raw}
    if len(set(clean.values())) < len(clean):
        clean = {name: name for name in raw}
    renamed = {name: better for name, better in clean.items() if name != better}
    return Stored({clean[name]: path for name, path in raw.items()}, renamed)


def _files_of(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return [folder / name for name in sorted(set(shards.values()))]


def untie(model: Any, stored: Stored) -> None:
    """Untie the weights of a model built from its config where the stored ones differ.

    transformers ties T5's head to its embeddings whatever the config says, and unties them when it loads a file in which they
    differ. GPT-2's are tied unless the config says otherwise.
    """
    import torch

    ties: dict[str, list[str]] = {}
    for target, source in model.all_tied_weights_keys.items():
        ties.setdefault(source, []).append(target)
    for source, targets in ties.items():
        # safetensors stores tied weights once, under any of their names
        present = [name for name in (source, *targets) if name in stored.files]
        for name in present[1:]:
            if not stored.are_equal(present[0], name):
                owner, _, leaf = name.rpartition(".")
                own = torch.nn.Parameter(model.get_parameter(name).detach().clone())
                setattr(model.get_submodule(owner), leaf, own)
                del model.all_tied_weights_keys[name]
