"""Compares a model with its ONNX graphs: outputs, answers, generated texts, metrics, latency."""

import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from hftool.data.batches import budget_batches
from hftool.data.readers.tables import Row
from hftool.evaluation.report import make_report
from hftool.heads.collate import IGNORED
from hftool.heads.protocol import Batch, Feature, Head, Outputs
from hftool.inference.generation import generate
from hftool.inference.predictor import Predictor

LENGTHS = ((1,), (5,), (13, 9, 2, 1), (40, 7, 30))  # tokens of random texts, by batch; never the trace sample's shape
SEED = 0
NEW_TOKENS = 16  # generated for each prompt
SAME_DIRECTION = 0.95  # cosine from which two embeddings of a text count as equal
NEAR = 0.05  # of the range of all scores: two scores that differ by less count as equal
TIMED_ROWS, ROUNDS = 8, 5


@dataclass(frozen=True)
class Pair:
    """Predictors of a model in torch (before) and of its graphs (after), with the same head."""

    before: Predictor
    after: Predictor

    @property
    def head(self) -> Head:
        """The head of both."""
        return self.before.head

    def with_options(self, options: Mapping[str, Any]) -> "Pair":
        """Both, with some fields of the head replaced."""
        head: Any = self.head
        changed = dataclasses.replace(head, **options)
        return Pair(dataclasses.replace(self.before, head=changed), dataclasses.replace(self.after, head=changed))


def batches_of(head: Head, features: Sequence[Feature]) -> Iterator[Batch]:
    """Group features into batches as inference does."""
    for indices in budget_batches([feature.length for feature in features], tokens=head.batch_tokens):
        yield head.collate([features[i] for i in indices])


def random_batches(head: Head, *, vocab_size: int, max_tokens: int, token_type_ids: bool) -> Iterator[Batch]:
    """Batches of random tokens, each of another shape: one text and several, of 1 token and of many, with padding.

    Token ids are smaller than `vocab_size`. `token_type_ids`: whether the model takes token type ids.
    """
    rng = np.random.default_rng(SEED)
    for lengths in LENGTHS:
        features = []
        for i, length in enumerate(min(length, max_tokens) for length in lengths):
            types = np.sort(rng.integers(0, 2, length)) if token_type_ids else None
            features.append(Feature(rng.integers(0, vocab_size, length).astype(np.int32), i, types))
        yield head.collate(features)


def compare_outputs(pair: Pair, batches: Iterator[Batch]) -> dict[str, Any]:
    """Compare the outputs that the head reads.

    Returns:
        Largest absolute difference, largest absolute value, their ratio, the shape of each batch; where the batches have
        labels to generate, also the number of tokens and of those where both predict the same one.
    """
    difference, largest, shapes, agreed, tokens = 0.0, 0.0, [], 0, 0
    for batch in batches:
        before = pair.before.engine.forward(batch, pair.head.outputs)
        after = pair.after.engine.forward(batch, pair.head.outputs)
        for name in pair.head.outputs:
            difference = max(difference, _difference(before[name], after[name]))
            largest = max(largest, float(before[name].abs().max()))
        same, count = _same_predictions(batch, before, after)
        agreed, tokens = agreed + same, tokens + count
        shapes.append(list(batch["input_ids"].shape))
    report = {"max_difference": difference, "largest": largest, "relative": difference / (largest or 1.0), "shapes": shapes}
    return {**report, "tokens": tokens, "same_tokens": agreed} if tokens else report


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    """Largest absolute difference; infinite for NaN and for different shapes."""
    if before.shape != after.shape:
        return float("inf")
    worst = float((before - after).abs().max())
    return worst if math.isfinite(worst) else float("inf")


def _same_predictions(batch: Batch, before: Outputs, after: Outputs) -> tuple[int, int]:
    """Over the label tokens of a batch: (number with the same argmax in both, number in all); zeros for other heads."""
    labels = batch.get("labels")
    if labels is None or "logits" not in before or before["logits"].shape[:2] != labels.shape:
        return 0, 0
    targets = labels != IGNORED
    same = before["logits"].argmax(dim=-1) == after["logits"].argmax(dim=-1)
    return int((same & targets).sum()), int(targets.sum())


def compare_texts(pair: Pair, batches: Iterator[Batch]) -> dict[str, Any]:
    """Continue prompts greedily with both, and count the texts that are equal token by token."""
    sampling = pair.head.sampling
    assert sampling is not None
    greedy = dataclasses.replace(
        sampling, max_new_tokens=NEW_TOKENS, temperature=0.0, num_beams=1, num_return_sequences=1, stop=()
    )
    same, texts, shapes = 0, 0, []
    for batch in batches:
        prompts = {key: batch[key] for key in ("input_ids", "attention_mask")}
        generated = [generate(one.engine, prompts, greedy, tokenizer=pair.head.tokenizer) for one in (pair.before, pair.after)]
        same += sum(before[0].ids == after[0].ids for before, after in zip(*generated, strict=True))
        texts += len(generated[0])
        shapes.append(list(prompts["input_ids"].shape))
    return {"texts": texts, "same_texts": same, "tokens_each": NEW_TOKENS, "shapes": shapes}


def compare_answers(pair: Pair, features: Sequence[Feature]) -> dict[str, Any]:
    """Compare the answers to real texts: how many labels, tags, texts or numbers are equal, and of how many."""
    before, after = pair.before.answer_features(features), pair.after.answer_features(features)
    decisions = [(pair.head.decision(one), pair.head.decision(other)) for one, other in zip(before, after, strict=True)]
    scores = [value for (_, value), _ in decisions if isinstance(value, float)]
    spread = max(scores) - min(scores) if scores else 0.0
    counts = [_agree(one, other, spread) for (_, one), (_, other) in decisions]
    same, count = sum(n for n, _ in counts), sum(n for _, n in counts)
    return {"texts": len(before), "compared": decisions[0][0][0] if decisions else "", "same": same, "of": count}


def _agree(before: Any, after: Any, spread: float) -> tuple[int, int]:
    """(Number of equal items, number of items) in two answers. spread: range of all scores."""
    if isinstance(before, list):
        return sum(one == other for one, other in zip(before, after, strict=True)), len(before)
    if isinstance(before, np.ndarray):
        cosine = float(before @ after) / (float(np.linalg.norm(before) * np.linalg.norm(after)) or 1.0)
        return int(cosine >= SAME_DIRECTION), 1
    if isinstance(before, float):
        return int(abs(before - after) <= NEAR * spread + 1e-6), 1
    return int(before == after), 1


def measure(predictor: Predictor, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
    """The head's metrics and the loss on labelled rows."""
    answers, loss = predictor.score(predictor.head.encode(rows))
    metrics = predictor.head.metrics()
    report = make_report(answers, rows, metrics, labels, loss)
    return {name: report[name] for name in dict.fromkeys((*metrics.names, "loss"))}


def latency(pair: Pair, features: Sequence[Feature]) -> dict[str, Any]:
    """Median milliseconds for one text at a time without tokenization, both models in turn."""
    timed = list(islice(features, TIMED_ROWS))
    samples: tuple[list[float], list[float]] = ([], [])
    for round_ in range(ROUNDS + 1):
        for feature in timed:
            for seconds, predictor in zip(samples, (pair.before, pair.after), strict=True):
                start = time.perf_counter()
                _run(predictor, feature)
                if round_:  # the first is a warm-up
                    seconds.append(time.perf_counter() - start)
    before, after = (round(1000 * statistics.median(seconds), 3) for seconds in samples)
    facts = {"texts": len(timed), "rounds": ROUNDS, "threads": torch.get_num_threads()}
    return {"before_ms": before, "after_ms": after, **facts}


def _run(predictor: Predictor, feature: Feature) -> None:
    """Run one text; NEW_TOKENS tokens where the head generates."""
    batch, sampling = predictor.head.collate([feature]), predictor.head.sampling
    if sampling is None:
        predictor.engine.forward(batch, predictor.head.outputs)
    else:
        short = dataclasses.replace(sampling, max_new_tokens=NEW_TOKENS)
        generate(predictor.engine, batch, short, tokenizer=predictor.head.tokenizer)
