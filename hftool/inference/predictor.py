"""Rows to answers, in the order of the rows, in bounded memory, in batches of similar length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from hftool.data.batches import budget_batches
from hftool.data.sources import Row
from hftool.engines.torch import TorchEngine
from hftool.errors import DataError
from hftool.heads.protocol import Answer, Feature, Head

CHUNK = 4096  # rows held at a time: large enough to sort by length, small enough for any machine
BATCH_TOKENS = 4096  # tokens of a batch after padding, on a CPU; a product of this size keeps its cores busy


Batched = tuple[list[int], list[Feature], dict[str, torch.Tensor], torch.Tensor]  # places, features, batch, logits


@dataclass(frozen=True)
class Predictor:
    """An engine and the head that reads its outputs."""

    engine: TorchEngine
    head: Head
    batch_tokens: int = BATCH_TOKENS

    def answer(self, rows: Iterable[Row]) -> Iterator[Answer]:
        """One answer a row, in the order of the rows. Rows are taken from the iterable a chunk at a time.

        Raises DataError when an output is no number, as of a model whose weights are damaged.
        """
        source = iter(rows)
        while chunk := list(islice(source, CHUNK)):
            yield from self.answer_features(self.head.encode(chunk))

    def answer_features(self, features: Sequence[Feature]) -> list[Answer]:
        """One answer a feature, in their order."""
        answers: list[Answer] = [{}] * len(features)
        for places, members, _, outputs in self._batches(features):
            for i, answer in zip(places, self.head.decode(outputs, members), strict=True):
                answers[i] = answer
        return answers

    def score(self, features: Sequence[Feature]) -> tuple[list[Answer], float]:
        """Answers in order, and the loss over all that it counts: no batch weighs more for being short."""
        answers: list[Answer] = [{}] * len(features)
        total, count = 0.0, 0
        for places, members, batch, outputs in self._batches(features):
            loss, n = self.head.loss(outputs, batch)
            total, count = total + float(loss), count + n
            for i, answer in zip(places, self.head.decode(outputs, members), strict=True):
                answers[i] = answer
        return answers, total / max(count, 1)

    def _batches(self, features: Sequence[Feature]) -> Iterator[Batched]:
        lengths = [feature.length for feature in features]
        for places in budget_batches(lengths, tokens=self.batch_tokens):
            members = [features[i] for i in places]
            batch = self.head.collate(members)
            outputs = self.engine.forward(batch)
            if not bool(torch.isfinite(outputs).all()):  # a probability of NaN is no answer
                raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")
            yield places, members, batch, outputs
