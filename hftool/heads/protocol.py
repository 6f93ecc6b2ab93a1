"""What a head is: everything that is particular about one kind of answer, and nothing else.

The loop, the predictor and the evaluator hold a Head and never ask which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.heads.wire import Asks, Parameter, Schema
from hftool.sampling import SamplingParams

Answer = dict[str, Any]
Batch = dict[str, torch.Tensor]
Outputs = Mapping[str, torch.Tensor]
FALLING = ("loss", "perplexity", "mean_absolute_error")  # metrics of which less is better under every head


@dataclass(frozen=True, slots=True)
class Feature:
    """One encoded row, or one window of a row that is longer than the model.

    input_ids: (T,) int32. row: the position of its row among those that were encoded with it. segments: (T,) token types,
    where the family has them. target: what it is trained towards, if the row has it. cut: tokens of the row that no
    feature holds, counted in its first. lost: whether no feature of the row holds its whole target, told by its first. extra:
    what the head needs to read the answer.
    """

    input_ids: np.ndarray
    row: int = 0
    segments: np.ndarray | None = None
    target: Any = None
    cut: int = 0
    lost: bool = False
    extra: Any = None

    @property
    def length(self) -> int:
        """Tokens, special ones included."""
        return len(self.input_ids)


@dataclass(frozen=True)
class Metrics:
    """What to measure under a head: `names`, of which the first decides which checkpoint is best, and the direction of those
    that are not FALLING.

    `report` names the kind of report that goes with it. answers: whether answers are needed to measure, or the loss will do.
    language: of the texts to be written, in two letters, where the data say so.
    """

    names: tuple[str, ...]
    higher_is_better: bool
    report: str
    answers: bool = True
    language: str = ""

    @property
    def best(self) -> str:
        """The metric that decides."""
        return self.names[0]

    @property
    def rises(self) -> bool:
        """Whether a higher value of the metric that decides is better."""
        return self.higher_is_better and self.best not in FALLING

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value of the metric that decides is better than another."""
        return value > than if self.rises else value < than


@dataclass(frozen=True)
class GeneratedText:
    """What was written for a prompt: token ids without the end token, why it ended ("stop" or "length"), the sum of the
    log-probabilities of its tokens, and the characters that the next token has before a stop string that begins in it."""

    ids: tuple[int, ...]
    finish: str
    score: float
    rest: str = ""


class Head(Protocol):
    """The parts of a head. All are pure but for the tokenizer that they hold.

    shapes: the ways in which its rows may come, the surest first. numbers: whether its labels are always amounts.
    knobs: those of OF_HEADS that mean something to it.
    outputs: the names of the outputs that it reads. batch_tokens: how many tokens a batch may have in inference on a CPU.
    decoding: how texts are written, for the heads whose answer is written and not read off.
    Over HTTP: gives: what an answer is: "labels", "entities", "span", "text", "words" or "vector". parameters: what a request
    may set by name. replies: the JSON Schema of the reply to one input.
    """

    numbers: ClassVar[bool]
    knobs: ClassVar[tuple[str, ...]]
    row_schemas: ClassVar[tuple[RowSchema, ...]]
    outputs: ClassVar[tuple[str, ...]]
    batch_tokens: ClassVar[int]
    gives: ClassVar[str]
    parameters: ClassVar[Mapping[str, Parameter]]
    replies: ClassVar[Schema]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of its model."""
        ...

    @property
    def sampling(self) -> SamplingParams | None:
        """How texts are written; None where the answer is read off the outputs."""
        ...

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows under their roles -> features, in the order of the rows. Truncation and windows are decided here and counted."""
        ...

    def collate(self, features: Sequence[Feature], draw: int = 0) -> Batch:
        """Features -> one batch of tensors. draw: the number of the pass over the data; what is drawn at random is the same for
        the same number."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Outputs and batch -> (sum of the losses, how many were summed): never a mean, so that parts can be added."""
        ...

    def decode(self, outputs: Any, features: Sequence[Feature]) -> list[Any]:
        """Outputs (or what was written: a list of `GeneratedText` for each feature) -> a part of an answer for each feature."""
        ...

    def join(self, parts: Sequence[Any]) -> Answer:
        """The parts of one row, in order -> its answer."""
        ...

    def metrics(self) -> Metrics:
        """What to measure."""
        ...

    @property
    def asks(self) -> Asks:
        """What an input is over HTTP."""
        ...

    def reply(self, row: Row, answer: Answer, parameters: Mapping[str, Any]) -> Any:
        """A row and its answer -> the reply in the shape of the task's, as JSON. parameters: those that go to no field."""
        ...
