"""Which rows of a pool to label next: the ones that a model is least sure of, different from each other.

Of the rows with the highest uncertainty, ten times as many as are wanted (Zhdanov, "Diverse mini-batch Active Learning", 2019),
those are chosen that are far from the chosen ones, as a greedy k-center does with the vectors of the last layer (Sener and
Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", 2018), with the uncertainty as weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CANDIDATES = 10  # for each row that is wanted
MAX_CANDIDATES = 20_000  # unless more are wanted: their vectors are in memory


@dataclass(frozen=True)
class Candidate:
    """A row that may be chosen: itself, its uncertainty from 0 to 0.5, and the vector (H,) float32 that the model has of it."""

    row: Any
    uncertainty: float
    vector: np.ndarray


@dataclass
class Candidates:
    """The most uncertain of any number of rows, `count` of which are wanted."""

    count: int
    best: list[Candidate] = field(default_factory=list)
    rows: int = 0  # all that were added
    total: float = 0.0  # of their uncertainties

    def add(self, more: Sequence[Candidate]) -> None:
        """Add rows; of equally uncertain ones the first stay."""
        self.rows += len(more)
        self.total += sum(candidate.uncertainty for candidate in more)
        limit = max(self.count, min(CANDIDATES * self.count, MAX_CANDIDATES))
        self.best = sorted([*self.best, *more], key=lambda candidate: -candidate.uncertainty)[:limit]

    def choose(self) -> list[Candidate]:
        """`count` candidates, or all if there are fewer, in the order in which they are chosen: the first ones differ most.

        The first is the most uncertain. Each further one has the largest product of its uncertainty and the squared distance of
        its vector to the nearest chosen one; of copies the more uncertain comes first.
        """
        if not self.best:
            return []
        vectors = np.stack([candidate.vector for candidate in self.best])
        weights = np.array([candidate.uncertainty for candidate in self.best])
        chosen = [0]
        nearest = np.full(len(vectors), np.inf)
        while len(chosen) < min(self.count, len(vectors)):
            nearest = np.minimum(nearest, ((vectors - vectors[chosen[-1]]) ** 2).sum(axis=1, dtype=np.float64))
            gains = nearest * weights
            gains[chosen] = -1.0
            chosen.append(int(gains.argmax()))
        return [self.best[i] for i in chosen]


def uncertainty_of(margin: float) -> float:
    """The probability of the second best choice, of the two best alone, from the difference of their logits: 0.5 is a tie."""
    return 1 / (1 + math.exp(min(margin, 700.0)))
