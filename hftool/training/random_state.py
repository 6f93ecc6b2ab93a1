"""The state of the random generators of torch, numpy and Python in a checkpoint."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from hftool.errors import ConfigError
from hftool.storage import atomic
from hftool.training.checkpoint_schema import PYTHON

Generators = dict[str, list[Any]]  # the state of a process as JSON: it is sent between processes


def write_generators(folder: Path, generators: Sequence[Generators]) -> list[Any]:
    """Write the random state of each process as safetensors -> that of Python's generators for state.json."""
    states = {
        f"{rank}.{name}": torch.tensor(numbers, dtype=torch.int64 if name.startswith("numpy") else torch.uint8)
        for rank, state in enumerate(generators)
        for name, numbers in state.items()
        if name != PYTHON
    }
    with atomic.writing(folder / "rng.safetensors"):
        save_file(states, str(folder / "rng.safetensors"))
    return [state[PYTHON] for state in generators]


def pack_generators() -> Generators:
    """The random state of torch, numpy and Python."""
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    inner = numpy_state["state"]
    version, numbers, gauss = random.getstate()
    devices = {f"cuda_{i}": torch.cuda.get_rng_state(i).tolist() for i in range(torch.cuda.device_count())}
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy_key": inner["key"].tolist(),
        "numpy_rest": [inner["pos"], numpy_state["has_gauss"]],
        "numpy_gauss": [_bits(numpy_state["gauss"])],
        PYTHON: [version, list(numbers), gauss],
        **devices,
    }


def _bits(number: float) -> int:
    """The 64 bits of a float as an integer: torch would convert it to fp32."""
    return int(np.float64(number).view(np.int64))


def load_generators(folder: Path, python: Sequence[Any], rank: int = 0) -> None:
    """Restore the random state of a process from a checkpoint. Raises ConfigError (the checkpoint has none of this rank)."""
    if rank >= len(python):
        raise ConfigError(f"'{folder}' was saved by {len(python)} processes", f"Resume with --processes {len(python)}")
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
    version, numbers, gauss = python[rank]
    random.setstate((version, tuple(numbers), gauss))
