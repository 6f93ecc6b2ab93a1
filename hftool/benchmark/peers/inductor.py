"""torch.compile with frozen weights: transformers' model in padded batches, in fp32 or bf16."""

from collections.abc import Sequence
from typing import Any

import torch

from hftool.benchmark.arm import Arm
from hftool.benchmark.infer import InferWork
from hftool.benchmark.peers.forward import Batch, ForwardEngine

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def infer(work: InferWork, variant: str) -> Arm:
    """The model, compiled at its first batch for all lengths. variant: fp32 or bf16, the number format of the weights."""
    import torch._inductor.config as settings

    settings.freezing = True  # weights are constants, packed for the products
    compiled = torch.compile(work.loaded.model.to(FORMATS[variant]), dynamic=True)

    def _outputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
        with torch.no_grad():
            found = compiled(**batch)
        return {name: found[name] for name in names}

    return work.arm_of_engine(ForwardEngine(_outputs), variant)
