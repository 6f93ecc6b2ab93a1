"""What a head is: everything that is particular about one kind of answer, and nothing else.

The loop, the predictor and the evaluator hold a Head and never ask which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from hftool.data.sources import Row

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feature:
    """One encoded row. input_ids: (T,) int32. segments: (T,) token types, where the family has them. cut: tokens that
    did not fit. target: what the row is trained towards, if it has a label."""

    input_ids: np.ndarray
    segments: np.ndarray | None = None
    target: Any = None
    cut: int = 0

    @property
    def length(self) -> int:
        """Tokens, special ones included."""
        return len(self.input_ids)


@dataclass(frozen=True)
class Metrics:
    """What to measure under a head: `names`, of which the first decides which checkpoint is best, and its direction.

    `report` names the kind of report that goes with it.
    """

    names: tuple[str, ...]
    higher_is_better: bool
    report: str

    @property
    def best(self) -> str:
        """The metric that decides."""
        return self.names[0]


class Head(Protocol):
    """The five parts of a head. All are pure but for the tokenizer that they hold."""

    auto_class: str

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows under their roles -> features. Truncation is decided here and counted."""
        ...

    def collate(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """Features -> one batch of tensors."""
        ...

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Logits and batch -> (sum of the losses, how many were summed): never a mean, so that parts can be added."""
        ...

    def decode(self, outputs: torch.Tensor, features: Sequence[Feature]) -> list[Answer]:
        """Logits -> one answer a feature, in their order."""
        ...

    def metrics(self) -> Metrics:
        """What to measure."""
        ...
