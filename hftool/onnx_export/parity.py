"""Whether graphs answer as the model does that they were made of: outputs, answers, texts, the task's metric, and time."""

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
from hftool.heads.protocol import Answer, Batch, Feature, Head, Outputs
from hftool.inference.generation import generate
from hftool.inference.predictor import Predictor

LENGTHS = ((1,), (5,), (13, 9, 2, 1), (40, 7, 30))  # tokens of random texts, a batch each; none is the size of the sample
SEED = 0
WRITTEN = 16  # tokens that are written for a prompt
# What an answer comes down to: the first of these parts that it has, and how two of them agree
DECIDING = ("label", "tags", "answer", "masks", "score", "embedding", "similarity")
SAME_DIRECTION = 0.95  # cosine of two vectors of a text that count as one
NEAR = 0.05  # of the range of the scores: two scores that count as one
TIMED_ROWS, ROUNDS = 8, 5


@dataclass(frozen=True)
class Pair:
    """A model in torch and its graphs, asked alike."""

    before: Predictor
    after: Predictor

    @property
    def head(self) -> Head:
        """The head of both."""
        return self.before.head

    def asking(self, options: Mapping[str, Any]) -> "Pair":
        """Both, with other fields of the head."""
        head: Any = self.head
        changed = dataclasses.replace(head, **options)
        return Pair(dataclasses.replace(self.before, head=changed), dataclasses.replace(self.after, head=changed))


def batches_of(head: Head, features: Sequence[Feature]) -> Iterator[Batch]:
    """Batches as inference makes them."""
    for places in budget_batches([feature.length for feature in features], tokens=head.batch_tokens):
        yield head.collate([features[i] for i in places])


def random_batches(head: Head, *, words: int, longest: int, segments: bool) -> Iterator[Batch]:
    """Batches of random tokens: one text and several, of 1 token and of many, with padding; no two of them of one shape.

    words: the size of the vocabulary. longest: the most tokens of a text. segments: whether the model is told of two texts.
    """
    rng = np.random.default_rng(SEED)
    for lengths in LENGTHS:
        features = []
        for i, length in enumerate(min(length, longest) for length in lengths):
            kinds = np.sort(rng.integers(0, 2, length)) if segments else None
            features.append(Feature(rng.integers(0, words, length).astype(np.int32), i, kinds))
        yield head.collate(features)


def compare_outputs(pair: Pair, batches: Iterator[Batch]) -> dict[str, Any]:
    """The outputs that the head reads, of each batch: the largest difference, the largest number, and the shapes."""
    difference, largest, shapes, agreed, asked = 0.0, 0.0, [], 0, 0
    for batch in batches:
        before = pair.before.engine.forward(batch, pair.head.outputs)
        after = pair.after.engine.forward(batch, pair.head.outputs)
        for name in pair.head.outputs:
            difference = max(difference, _difference(before[name], after[name]))
            largest = max(largest, float(before[name].abs().max()))
        same, count = _same_choice(batch, before, after)
        agreed, asked = agreed + same, asked + count
        shapes.append(list(batch["input_ids"].shape))
    report = {"max_difference": difference, "largest": largest, "relative": difference / (largest or 1.0), "shapes": shapes}
    return {**report, "tokens": asked, "same_tokens": agreed} if asked else report


def _difference(before: torch.Tensor, after: torch.Tensor) -> float:
    """Infinite where either is no number, or the shapes are not the same."""
    if before.shape != after.shape:
        return float("inf")
    worst = float((before - after).abs().max())
    return worst if math.isfinite(worst) else float("inf")


def _same_choice(batch: Batch, before: Outputs, after: Outputs) -> tuple[int, int]:
    """Of the tokens that a text is to be written with: for how many both would write the same one next, and of how many."""
    labels = batch.get("labels")
    if labels is None or "logits" not in before or before["logits"].shape[:2] != labels.shape:
        return 0, 0
    counted = labels != IGNORED
    same = before["logits"].argmax(dim=-1) == after["logits"].argmax(dim=-1)
    return int((same & counted).sum()), int(counted.sum())


def compare_texts(pair: Pair, batches: Iterator[Batch]) -> dict[str, Any]:
    """What both write after prompts, the most probable token each time: how many texts are the same token by token."""
    sampling = pair.head.sampling
    assert sampling is not None
    greedy = dataclasses.replace(
        sampling, max_new_tokens=WRITTEN, temperature=0.0, num_beams=1, num_return_sequences=1, stop=()
    )
    same, texts, shapes = 0, 0, []
    for batch in batches:
        prompts = {key: batch[key] for key in ("input_ids", "attention_mask")}
        made = [generate(one.engine, prompts, greedy, tokenizer=pair.head.tokenizer) for one in (pair.before, pair.after)]
        same += sum(before[0].ids == after[0].ids for before, after in zip(*made, strict=True))
        texts += len(made[0])
        shapes.append(list(prompts["input_ids"].shape))
    return {"texts": texts, "same_texts": same, "tokens_each": WRITTEN, "shapes": shapes}


def compare_answers(pair: Pair, features: Sequence[Feature]) -> dict[str, Any]:
    """The answers to real texts: how many of what they come down to (labels, tags, words) are the same."""
    before, after = pair.before.answer_features(features), pair.after.answer_features(features)
    parts = [_part(answer) for answer in before]
    numbers = [answer[part] for part, answer in zip(parts, before, strict=True) if isinstance(answer[part], float)]
    spread = max(numbers) - min(numbers) if numbers else 0.0
    agreed = [_agree(one[part], other[part], spread) for part, one, other in zip(parts, before, after, strict=True)]
    same, count = sum(n for n, _ in agreed), sum(n for _, n in agreed)
    return {"texts": len(before), "compared": parts[0] if parts else "", "same": same, "of": count}


def _part(answer: Answer) -> str:
    return next(part for part in DECIDING if part in answer)


def _agree(before: Any, after: Any, spread: float) -> tuple[int, int]:
    """How much of two answers is the same, and of how much."""
    if isinstance(before, list) and before and isinstance(before[0], dict):  # masks: the best word for each
        before, after = [one["fills"][0]["token"] for one in before], [one["fills"][0]["token"] for one in after]
    if isinstance(before, list):
        return sum(one == other for one, other in zip(before, after, strict=True)), len(before)
    if isinstance(before, np.ndarray):
        cosine = float(before @ after) / (float(np.linalg.norm(before) * np.linalg.norm(after)) or 1.0)
        return int(cosine >= SAME_DIRECTION), 1
    if isinstance(before, float):
        return int(abs(before - after) <= NEAR * spread + 1e-6), 1
    return int(before == after), 1


def measure(predictor: Predictor, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
    """The metrics of the head on rows with known answers, and the loss."""
    answers, loss = predictor.score(predictor.head.encode(rows))
    metrics = predictor.head.metrics()
    report = make_report(answers, rows, metrics, labels, loss)
    return {name: report[name] for name in dict.fromkeys((*metrics.names, "loss"))}


def latency(pair: Pair, features: Sequence[Feature]) -> dict[str, Any]:
    """Milliseconds for one text at a time, tokenizing aside: medians over texts and rounds, the two taking turns."""
    timed = list(islice(features, TIMED_ROWS))
    seconds: tuple[list[float], list[float]] = ([], [])
    for round_ in range(ROUNDS + 1):
        for feature in timed:
            for kept, predictor in zip(seconds, (pair.before, pair.after), strict=True):
                start = time.perf_counter()
                _answered(predictor, feature)
                if round_:  # the first warms up
                    kept.append(time.perf_counter() - start)
    before, after = (round(1000 * statistics.median(kept), 3) for kept in seconds)
    facts = {"texts": len(timed), "rounds": ROUNDS, "threads": torch.get_num_threads()}
    return {"before_ms": before, "after_ms": after, **facts}


def _answered(predictor: Predictor, feature: Feature) -> None:
    """One text, as it is answered; of what is written, so many tokens."""
    batch, sampling = predictor.head.collate([feature]), predictor.head.sampling
    if sampling is None:
        predictor.engine.forward(batch, predictor.head.outputs)
    else:
        short = dataclasses.replace(sampling, max_new_tokens=WRITTEN)
        generate(predictor.engine, batch, short, tokenizer=predictor.head.tokenizer)
