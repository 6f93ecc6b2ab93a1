"""The protocol of a head, and the types that it exchanges with training, inference and evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.models import HeadConfig
from hftool.registry.heads import LOWER_IS_BETTER
from hftool.sampling import SamplingParams

Answer = dict[str, Any]
Answers = Sequence[Answer]
Batch = dict[str, torch.Tensor]
Outputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Feature:
    """One encoded row, or one window of a row that is longer than the model's limit."""

    input_ids: np.ndarray  # token ids (T,) int32
    row: int = 0  # the index of its row among those that were encoded with it
    token_type_ids: np.ndarray | None = None  # (T,), where the family has them
    target: Any = None  # the training target, where the row has one
    truncated: int = 0  # the number of tokens of the row that were truncated; in its first feature
    target_lost: bool = False  # no window of the row holds the whole target; in its first feature
    aux: Any = None  # what the head needs to decode the answer

    @property
    def length(self) -> int:
        """The number of tokens, special tokens included."""
        return len(self.input_ids)


@dataclass(frozen=True)
class Metrics:
    """What is measured under a head."""

    names: tuple[str, ...]  # the metrics; the first decides which checkpoint is best
    higher_is_better: bool  # for the metrics that are not in LOWER_IS_BETTER
    report: str  # the kind of report, the name of one of its `registry.heads.HeadSpec.reports`
    answers: bool = True  # whether answers are needed, or the loss is enough
    language: str = ""  # two-letter code of the generated texts, where the data has one

    @property
    def best(self) -> str:
        """The deciding metric."""
        return self.names[0]

    @property
    def rises(self) -> bool:
        """Whether a higher value of the deciding metric is better."""
        return self.higher_is_better and self.best not in LOWER_IS_BETTER

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value of the deciding metric is better than another."""
        return value > than if self.rises else value < than


@dataclass(frozen=True)
class GeneratedText:
    """A text generated for a prompt."""

    ids: tuple[int, ...]  # token ids without the end token
    finish: str  # why it ended: "stop" or "length"
    score: float  # the sum of the log-probabilities of its tokens
    rest: str = ""  # the characters of the next token before a stop string that begins in it


class Head(Protocol):
    """What differs between kinds of answers. All methods are pure, but for the state of the tokenizer."""

    numbers: ClassVar[bool]  # whether its labels are always continuous
    knobs: ClassVar[tuple[str, ...]]  # the settings of `config.OF_HEADS` that it reads
    row_schemas: ClassVar[tuple[RowSchema, ...]]  # the roles its rows may have, the most specific first
    outputs: ClassVar[tuple[str, ...]]  # the names of the model outputs that it reads
    batch_tokens: ClassVar[int]  # the limit of tokens in a batch in inference on a CPU

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of its model."""
        ...

    @property
    def head_config(self) -> HeadConfig:
        """The settings of its model, as in hftool.json."""
        ...

    @property
    def sampling(self) -> SamplingParams | None:
        """How texts are generated; None for heads that do not generate."""
        ...

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows, by role -> features, in the order of the rows. Truncation and windows are decided and counted here."""
        ...

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Features -> a batch of tensors. epoch_seed: the number of the epoch, which seeds what is random in a batch."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Outputs and batch -> (sum of the losses, their number): never a mean, so that sums over batches can be added."""
        ...

    def decode(self, outputs: Any, features: Sequence[Feature]) -> list[Any]:
        """Outputs, or a list of `GeneratedText` for each feature -> a part of an answer for each feature."""
        ...

    def join(self, parts: Sequence[Any]) -> Answer:
        """The parts of one row, in order -> its answer."""
        ...

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The part of an answer by which two models are compared: its name, and a string, a number, a vector or a list."""
        ...

    def margin(self, parts: Sequence[Any], answer: Answer) -> float:
        """By how much the logit of the best choice exceeds the next, in the parts of a row and their answer.

        The least of all choices that the answer holds, and infinite where it holds none, as with numbers and vectors.
        """
        ...

    def metrics(self) -> Metrics:
        """The metrics."""
        ...
