"""torch.compile with frozen weights: transformers' model in padded batches, in bf16 where the processor has it."""

from collections.abc import Sequence
from typing import Any

import torch

from hftool.benchmark.arm import Arm
from hftool.benchmark.infer import InferWork
from hftool.benchmark.peers.forward import Batch, ForwardEngine
from hftool.machine import cpu_has_fast_bf16


def infer(work: InferWork, variant: str) -> Arm:
    """The model, compiled at its first batch for all lengths."""
    import torch._inductor.config as settings

    fast = cpu_has_fast_bf16()
    settings.freezing = True  # weights are constants, packed for the products
    compiled: Any = torch.compile(work.loaded.model.to(torch.bfloat16 if fast else torch.float32), dynamic=True)

    def _outputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
        with torch.no_grad():
            found = compiled(**batch)
        return {name: found[name] for name in names}

    return work.arm_of_engine(ForwardEngine(_outputs), "bf16" if fast else "fp32")
