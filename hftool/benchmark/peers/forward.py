"""An engine of the predictor from a function that computes the outputs of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ForwardEngine:
    """Runs padded batches. outputs: inputs (B, T) and names -> outputs (B, ...)."""

    outputs: Callable[[Batch, Sequence[str]], dict[str, Any]]
    packs: bool = False
    tolerance: float = 0.0
    number_format: str = ""

    def exact(self) -> "ForwardEngine":
        """Itself."""
        return self

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> dict[str, torch.Tensor]:
        """Run a batch -> the named outputs as float32, and the attention mask."""
        inputs = {name: values for name, values in batch.items() if name != "labels"}
        found = {name: torch.as_tensor(values).float() for name, values in self.outputs(inputs, outputs).items()}
        return {"attention_mask": batch["attention_mask"], **found}
