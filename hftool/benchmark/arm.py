"""The parts that every arm has: one run of the work, and what is counted in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from hftool.benchmark.rates import peak_memory


@dataclass(frozen=True)
class Outcome:
    """One run of the work: outputs to compare, units of work (texts, tokens, samples, answers), seconds."""

    outputs: Any
    units: int
    seconds: float


@dataclass
class Counts:
    """Tokens that are text, tokens that are computed, and forward passes of one run."""

    real: int = 0
    computed: int = 0
    forwards: int = 0

    def add(self, mask: torch.Tensor, *, packed: bool = False) -> None:
        """Count a batch by its attention mask (B, T). packed: its padding is not computed."""
        real = int(mask.sum())
        self.real += real
        self.computed += real if packed else mask.numel()
        self.forwards += 1

    @property
    def padding(self) -> float | None:
        """The share of the computed tokens that is padding; None where nothing was counted."""
        return 1 - self.real / self.computed if self.computed else None


@dataclass(frozen=True)
class Arm:
    """One engine, ready to run."""

    run: Callable[[], Outcome]
    number_format: str  # of its products
    weight_bytes: int = 0  # what one forward pass reads of the weights
    counts: Counts = field(default_factory=Counts)
    memory: Callable[[], int] = peak_memory  # the peak in bytes


class Work(Protocol):
    """The work of a job in one process: model and rows."""

    def ours(self, variant: str) -> Arm:
        """The arm of hftool. variant: its precision."""
        ...

    def facts(self) -> dict[str, Any]:
        """Of the reference: the rows, and the operations, bytes and tokens of the work, from which its floor follows."""
        ...

    def compare(self, arm: str, outputs: Any) -> dict[str, Any]:
        """Compare the outputs of an arm with those of the reference; `fault` says why they are refused, if they are."""
        ...

    def close(self) -> None:
        """Stop what the work started."""
        ...


def bytes_of(number_format: str) -> int:
    """Bytes of a weight."""
    return {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}[number_format]


def shares(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """The share of outputs that are equal."""
    return sum(map(bool, (one == other for one, other in zip(expected, found, strict=True)))) / max(1, len(expected))
