"""Inference: rows to answers in the same order, in bounded memory and in batches of similar length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Protocol

import torch

from hftool.data.batches import budget_batches
from hftool.data.readers.tables import Row
from hftool.errors import DataError
from hftool.heads.protocol import Answer, Batch, Feature, Head, Outputs
from hftool.inference.generation import GenerationEngine, IsCancelled, OnToken, generate
from hftool.machine import collection_paused

CHUNK = 4096  # rows in memory at a time: enough to sort by length, few enough for any machine


@dataclass(frozen=True)
class FeatureBatch:
    """Features that are computed together: their indices among all, they themselves, and the inputs (B, T) of the model."""

    indices: Sequence[int]
    features: Sequence[Feature]
    inputs: Batch

    def put(self, parts: list[Any], decoded: Sequence[Any]) -> None:
        """Put what the features of the batch give at their indices."""
        for index, part in zip(self.indices, decoded, strict=True):
            parts[index] = part


class Engine(GenerationEngine, Protocol):
    """Runs a model; see `hftool.engines`."""

    @property
    def packs(self) -> bool:
        """Whether padding costs no time."""
        ...

    @property
    def number_format(self) -> str:
        """The number format of the arithmetic, such as fp32."""
        ...

    @property
    def tolerance(self) -> float:
        """The largest error of an output that comes from the number format; 0.0 in fp32."""
        ...

    def exact(self) -> "Engine":
        """The same engine without a tolerance."""
        ...

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> Outputs:
        """Inputs (B, T) -> the named outputs (B, ...) as float32 on the CPU, and the attention mask."""
        ...


@dataclass(frozen=True)
class Predictor:
    """An engine and the head that decodes its outputs.

    Args:
        engine: Runs the model.
        head: Encodes rows and decodes outputs.
        batch_tokens: Tokens of a batch after padding; by default the head's.
    """

    engine: Engine
    head: Head
    batch_tokens: int | None = None

    @property
    def packs(self) -> bool:
        """Whether padding costs no time."""
        return self.engine.packs

    def answer(self, rows: Iterable[Row], on_token: OnToken | None = None) -> Iterator[Answer]:
        """One answer for each row, in order. Rows are taken from the iterable in chunks.

        Args:
            rows: Any number of rows.
            on_token: Called with each token as it is generated, by heads that generate.

        Raises:
            DataError: An output is NaN or infinite, as where weights are damaged.
        """
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            with collection_paused():
                features = self.head.encode(chunk)
            yield from self.answer_features(features, on_token)

    def answer_features(self, features: Sequence[Feature], on_token: OnToken | None = None) -> list[Answer]:
        """One answer for each row, in order.

        Args:
            features: The features of a row are consecutive.
            on_token: Called with the index of a feature and a token.
        """
        parts: list[Any] = [None] * len(features)
        for batch in self.make_batches(features):
            batch.put(parts, self.compute(batch, on_token))
        return self._joined(features, parts)

    def make_batches(self, features: Sequence[Feature]) -> Iterator[FeatureBatch]:
        """The batches of these features, each of similar length."""
        lengths = [feature.length for feature in features]
        sampling = self.head.sampling
        copies = max(sampling.num_beams, sampling.num_return_sequences) if sampling else 1  # of each prompt
        tokens = (self.batch_tokens or self.head.batch_tokens) // copies
        for indices in budget_batches(lengths, tokens=tokens, packed=self.packs):
            members = [features[i] for i in indices]
            yield FeatureBatch(indices, members, self.head.collate(members))

    def compute(
        self, batch: FeatureBatch, on_token: OnToken | None = None, is_cancelled: IsCancelled | None = None
    ) -> Sequence[Any]:
        """The part of an answer that each feature of a batch gives, in order.

        Args:
            batch: One of `make_batches`.
            on_token: Called with the index of a feature and a token, as it is generated.
            is_cancelled: Called with the index of a feature at each step of generation; the text of a cancelled one ends there.
        """
        indices, sampling = batch.indices, self.head.sampling
        if sampling is None:
            return self.head.decode(self._forward(batch.inputs), batch.features)
        generated: Any = generate(
            self.engine,
            batch.inputs,
            sampling,
            tokenizer=self.head.tokenizer,
            on_token=None if on_token is None else lambda row, token: on_token(indices[row], token),
            is_cancelled=None if is_cancelled is None else lambda row: is_cancelled(indices[row]),
        )
        return self.head.decode(generated, batch.features)

    def join_rows(self, features: Sequence[Sequence[Feature]], parts: Sequence[Sequence[Any]]) -> list[Answer]:
        """The answers of rows from their features and the parts of these.

        A row whose choice has a margin within the tolerance of the engine is computed again without one: a label is that of
        fp32, whatever the number format.
        """
        answers = [self.join(*row) for row in zip(features, parts, strict=True)]
        error = 2 * self.engine.tolerance  # of the difference of two outputs
        close = [i for i, answer in enumerate(answers) if error and self.head.margin(parts[i], answer) <= error]
        if close:
            again = [replace(feature, row=i) for i in close for feature in features[i]]
            exact = replace(self, engine=self.engine.exact())
            for i, answer in zip(close, exact.answer_features(again), strict=True):
                answers[i] = answer
        return answers

    def join(self, features: Sequence[Feature], parts: Sequence[Any]) -> Answer:
        """The answer of a row from the parts of its features; `cut` is the number of truncated tokens, if any."""
        answer, truncated = self.head.join(parts), sum(feature.truncated for feature in features)
        return {**answer, "cut": truncated} if truncated else answer

    def score(self, features: Sequence[Feature]) -> tuple[list[Answer], float]:
        """Answers in order, and the mean loss, over everything that it counts and not over batches.

        There are no answers for a head whose only metric is the loss.
        """
        answers, total, count = self.sums(features)
        return answers, total / max(count, 1)

    def sums(self, features: Sequence[Feature]) -> tuple[list[Answer], float, int]:
        """The parts of `score`: answers, the sum of the losses, and how many were added up."""
        parts: list[Any] = [None] * len(features)
        total, count = 0.0, 0
        wanted = self.head.metrics().answers
        for batch in self.make_batches(features):
            outputs = self._forward(batch.inputs)
            loss, n = self.head.loss(outputs, batch.inputs)
            total, count = total + float(loss), count + n
            if wanted and self.head.sampling is None:
                batch.put(parts, self.head.decode(outputs, batch.features))
        if not wanted:
            return [], total, count
        return self.answer_features(features) if self.head.sampling else self._joined(features, parts), total, count

    def _joined(self, features: Sequence[Feature], parts: Sequence[Any]) -> list[Answer]:
        """One answer for each row."""
        groups = groupby(zip(features, parts, strict=True), key=lambda pair: pair[0].row)
        rows = [tuple(zip(*group, strict=True)) for _, group in groups]
        return self.join_rows([row[0] for row in rows], [row[1] for row in rows])

    def _forward(self, batch: Batch) -> Outputs:
        outputs = self.engine.forward(batch, self.head.outputs)
        if not all(bool(torch.isfinite(values).all()) for values in outputs.values()):
            raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")
        return outputs
