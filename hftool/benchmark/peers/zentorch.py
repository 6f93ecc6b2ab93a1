"""zentorch, AMD's backend of torch.compile, with weights in bf16.

Its import changes how torch compiles for the rest of the process, which is therefore its own.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch

from hftool.benchmark.arm import Arm
from hftool.benchmark.infer import InferWork
from hftool.benchmark.peers.forward import Batch, ForwardEngine


def infer(work: InferWork, variant: str) -> Arm:
    """The compiled model. variant: bf16."""
    importlib.import_module("zentorch")  # registers the backend
    model = work.loaded.model.to(torch.bfloat16)
    compiled: Any = torch.compile(model, backend="zentorch", dynamic=True)

    def outputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
        with torch.no_grad():
            found = compiled(**batch)
        return {name: found[name] for name in names}

    return work.arm_of_engine(ForwardEngine(outputs), variant)
