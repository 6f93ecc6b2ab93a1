"""The engine that runs a model in torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TorchEngine:
    """Answers batches with a model, without gradients. precision: fp32, or bf16 for the products only."""

    model: Any
    device: str = "cpu"
    precision: str = "fp32"

    def forward(self, batch: Batch) -> torch.Tensor:
        """inputs of shape (B, T) -> logits (B, ...) as float32 on the CPU. `labels` in the batch are not passed on."""
        inputs = {key: value.to(self.device) for key, value in batch.items() if key != "labels"}
        kind = self.device.split(":")[0]
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.model(**inputs)
        logits: torch.Tensor = outputs.logits
        return logits.float().cpu()
