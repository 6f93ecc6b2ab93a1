"""Rows to answers, in the order of the rows, in bounded memory, in batches of similar length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Protocol

import torch

from hftool.data.batches import budget_batches
from hftool.data.readers.tables import Row
from hftool.engines.generation_state import GenerationState
from hftool.errors import DataError
from hftool.heads.protocol import Answer, Batch, Feature, Head, Outputs
from hftool.inference.generation import IsCancelled, OnToken, generate

CHUNK = 4096  # rows held at a time: large enough to sort by length, small enough for any machine


Batched = tuple[list[int], list[Feature], Batch]  # places, features, batch


class Engine(Protocol):
    """What computes: see `hftool.engines`."""

    @property
    def packs(self) -> bool:
        """Whether padding costs no time."""
        ...

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> Outputs:
        """Inputs (B, T) -> the named outputs (B, ...) as float32 on the CPU, and the attention mask beside them."""
        ...

    def begin(self, batch: Batch) -> GenerationState:
        """input_ids and attention_mask (B, T) -> the steps of their texts."""
        ...


@dataclass(frozen=True)
class Predictor:
    """An engine and the head that reads its outputs. batch_tokens: tokens of a batch after padding; by default the head's."""

    engine: Engine
    head: Head
    batch_tokens: int | None = None

    @property
    def packs(self) -> bool:
        """Whether padding costs no time."""
        return self.engine.packs

    def answer(self, rows: Iterable[Row], on_token: OnToken | None = None) -> Iterator[Answer]:
        """One answer a row, in the order of the rows. Rows are taken from the iterable a chunk at a time.

        on_token: told of each token as it is written, by heads that write. Raises DataError when an output is no number, as
        of a model whose weights are damaged.
        """
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            yield from self.answer_features(self.head.encode(chunk), on_token)

    def answer_features(self, features: Sequence[Feature], on_token: OnToken | None = None) -> list[Answer]:
        """One answer a row, in their order; the features of a row stand together. on_token: told of places among the
        features."""
        return self._joined(features, self.parts(features, on_token))

    def parts(
        self, features: Sequence[Feature], on_token: OnToken | None = None, is_cancelled: IsCancelled | None = None
    ) -> list[Any]:
        """The part of an answer that each feature gives, in their order.

        on_token: told of each token, gone: asked before each batch and at each step of writing, both by the places of the
        features. A feature that is given up has None for its part, or what was written until then.
        """
        parts: list[Any] = [None] * len(features)
        for places, members, batch in self._batches(features):
            if is_cancelled is not None and all([is_cancelled(place) for place in places]):
                continue
            if self.head.sampling is None:
                read: Any = self._forward(batch)
            else:
                read = self._generated(batch, places, on_token, is_cancelled)
            _put(parts, places, self.head.decode(read, members))
        return parts

    def _generated(
        self, batch: Batch, places: Sequence[int], on_token: OnToken | None, is_cancelled: IsCancelled | None
    ) -> Any:
        """What was written for a batch, whose rows are the features at these places."""
        writing = self.head.sampling
        assert writing is not None
        return generate(
            self.engine,
            batch,
            writing,
            tokenizer=self.head.tokenizer,
            on_token=None if on_token is None else lambda row, token: on_token(places[row], token),
            is_cancelled=None if is_cancelled is None else lambda row: is_cancelled(places[row]),
        )

    def join(self, features: Sequence[Feature], parts: Sequence[Any]) -> Answer:
        """The answer of a row, by its features and their parts. One whose text was cut says so: `cut` tokens were not read."""
        answer, cut = self.head.join(parts), sum(feature.cut for feature in features)
        return {**answer, "cut": cut} if cut else answer

    def score(self, features: Sequence[Feature]) -> tuple[list[Answer], float]:
        """Answers in order, and the loss over all that it counts: no batch weighs more for being short.

        No answers under a head that is measured by its loss alone.
        """
        answers, total, count = self.sums(features)
        return answers, total / max(count, 1)

    def sums(self, features: Sequence[Feature]) -> tuple[list[Answer], float, int]:
        """What `score` is made of: answers, the sum of the losses, and how many were summed."""
        parts: list[Any] = [None] * len(features)
        total, count = 0.0, 0
        wanted = self.head.metrics().answers
        for places, members, batch in self._batches(features):
            outputs = self._forward(batch)
            loss, n = self.head.loss(outputs, batch)
            total, count = total + float(loss), count + n
            if wanted and self.head.sampling is None:
                _put(parts, places, self.head.decode(outputs, members))
        if not wanted:
            return [], total, count
        return self.answer_features(features) if self.head.sampling else self._joined(features, parts), total, count

    def _joined(self, features: Sequence[Feature], parts: Sequence[Any]) -> list[Answer]:
        """One answer a row."""
        groups = groupby(zip(features, parts, strict=True), key=lambda pair: pair[0].row)
        return [self.join(*map(list, zip(*group, strict=True))) for _, group in groups]

    def _batches(self, features: Sequence[Feature]) -> Iterator[Batched]:
        lengths = [feature.length for feature in features]
        writing = self.head.sampling
        copies = max(writing.beams, writing.samples) if writing else 1  # each prompt is there so many times
        tokens = (self.batch_tokens or self.head.batch_tokens) // copies
        for places in budget_batches(lengths, tokens=tokens, packed=self.packs):
            members = [features[i] for i in places]
            yield places, members, self.head.collate(members)

    def _forward(self, batch: Batch) -> Outputs:
        outputs = self.engine.forward(batch, self.head.outputs)
        if not all(bool(torch.isfinite(values).all()) for values in outputs.values()):  # a probability of NaN is no answer
            raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")
        return outputs


def _put(parts: list[Any], places: Sequence[int], made: Sequence[Any]) -> None:
    for i, part in zip(places, made, strict=True):
        parts[i] = part
