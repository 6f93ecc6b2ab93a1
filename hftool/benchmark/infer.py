"""Texts that are answered in one forward pass: labels, entities, spans, fills and vectors."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from hftool.benchmark.arm import Arm, Counts, Outcome, bytes_of, shares
from hftool.benchmark.floor import Shape
from hftool.benchmark.job import Job
from hftool.benchmark.rows import rows_of
from hftool.data.readers.tables import Row
from hftool.engines.torch import TorchEngine
from hftool.errors import UsageError
from hftool.heads.protocol import Answer, Batch, Outputs
from hftool.inference.predictor import Predictor
from hftool.models import Loaded
from hftool.models.head_config import SINGLE
from hftool.registry.heads import head_spec
from hftool.workflow._infer import natural_options
from hftool.workflow._load import INT8, load, make_predictor, trained

LEAST_SAME = 0.9  # of the answers; an arm with fewer answers something else
SAME_VECTOR = 0.99  # cosine
SAME_NUMBER = 0.02  # of the range of the scores


class CountingEngine:
    """An engine whose forward passes are counted; all else is the engine's own."""

    def __init__(self, engine: Any, counts: Counts) -> None:
        self.engine, self.counts = engine, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def exact(self) -> "CountingEngine":
        """The same engine without a tolerance."""
        return CountingEngine(self.engine.exact(), self.counts)

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> Outputs:
        """Count a batch and run it."""
        self.counts.add(batch["attention_mask"], packed=self.engine.packs)
        found: Outputs = self.engine.forward(batch, outputs)
        return found


@dataclasses.dataclass
class InferWork:
    """A model and the rows that it answers."""

    job: Job
    loaded: Loaded
    rows: Sequence[Row]
    origin: str
    labels: Sequence[str] = ()  # of the rows, if they have any; "" for a row without one

    @property
    def head(self) -> Any:
        """The head, as it answers."""
        return make_predictor(self.loaded, options=natural_options(self.loaded)).head

    def ours(self, variant: str) -> Arm:
        """hftool, as every verb and the server run it. Raises UsageError for a precision of generation."""
        if variant == INT8:
            raise UsageError(f"a model that is to {self.loaded.head_config.head} is not computed in int8", "Leave it out")
        loaded = dataclasses.replace(self.loaded, precision=variant)
        predictor = make_predictor(loaded, options=natural_options(loaded), packed=True)
        return self._arm(predictor, predictor.engine.number_format)

    def arm_of_engine(self, engine: Any, number_format: str) -> Arm:
        """The arm of another engine: padded batches of similar length, on average of as many rows as the job says.

        Labels of single texts are computed in a shorter loop than hftool's own, as a program for this one case would.
        """
        if self._single_labels:
            counts, weights = Counts(), Shape.of(self.loaded.model).weights
            run = functools.partial(self.outcome, functools.partial(self._labels, engine, counts))
            return Arm(run, number_format, weights * bytes_of(number_format), counts)
        tokens = sum(feature.length for feature in self.head.encode(list(self.rows)))
        return self._arm(Predictor(engine, self.head, self.job.batch * tokens // len(self.rows)), number_format)

    @property
    def _single_labels(self) -> bool:
        config, is_encoder = self.loaded.head_config, self.loaded.family.architecture == "encoder"
        return is_encoder and config.head == "classify" and config.problem_type == SINGLE and set(self.rows[0]) == {"text"}

    def _labels(self, engine: Any, counts: Counts) -> list[Answer]:
        """The labels of texts: tokenize, sort by length, pad, compute, take the largest logit."""
        tokenizer, names = self.loaded.tokenizer, self.loaded.head_config.labels
        texts = [row["text"] for row in self.rows]
        limit = self.loaded.head_config.max_length or None
        ids = tokenizer(texts, truncation=True, max_length=limit, return_attention_mask=False)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        answers: list[Answer] = [{} for _ in ids]
        for start in range(0, len(order), self.job.batch):
            rows = order[start : start + self.job.batch]
            batch = dict(tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt"))
            batch.pop("token_type_ids", None)
            counts.add(batch["attention_mask"])
            for i, best in zip(rows, engine.forward(batch)["logits"].argmax(-1).tolist(), strict=True):
                answers[i] = {"label": names[best]}
        return answers

    def _arm(self, predictor: Predictor, number_format: str) -> Arm:
        counts = Counts()
        engine: Any = CountingEngine(predictor.engine, counts)
        counting = dataclasses.replace(predictor, engine=engine)
        read = Shape.of(self.loaded.model).weights * bytes_of(number_format)
        return Arm(lambda: self.outcome(lambda: counting.answer(self.rows)), number_format, read, counts)

    def outcome(self, answer: Callable[[], Iterable[Answer]]) -> Outcome:
        """Time a function that answers all rows."""
        start = time.perf_counter()
        answers = list(answer())
        seconds = time.perf_counter() - start
        return Outcome([comparable(one) for one in answers], len(self.rows), seconds)

    def facts(self) -> dict[str, Any]:
        """The rows, and the operations of a text."""
        head = self.head
        lengths = [feature.length for feature in head.encode(list(self.rows))]
        shape, spec = Shape.of(self.loaded.model), head_spec(self.loaded.head_config.head)
        first = spec.name == "classify" and self.loaded.family.architecture == "encoder"
        return {
            "rows": len(self.rows),
            "from": self.origin,
            "tokens": round(statistics.mean(lengths), 1),
            "head": spec.name,
            "gflop": shape.forward(lengths, first_token=first, head=spec.fills) / len(self.rows) / 1e9,
        }

    @functools.cached_property
    def expected(self) -> list[Any]:
        """The answers of transformers' model in fp32 with padding."""
        found: list[Any] = self.arm_of_engine(TorchEngine(self.loaded.model), "fp32").run().outputs
        return found

    def compare(self, arm: str, outputs: Any) -> dict[str, Any]:
        """The share of answers that are those of fp32, and of the labels of the rows, if they have any."""
        same = _same(self.expected, outputs)
        fault = "" if same >= LEAST_SAME else f"only {same:.1%} of its answers are those of fp32"
        pairs = [(label, answer) for label, answer in zip(self.labels, outputs, strict=False) if label]
        accuracy = {"accuracy": shares(*zip(*pairs, strict=True))} if pairs else {}
        return {"same": same, **accuracy, "fault": fault}

    def close(self) -> None:
        """Nothing to stop."""


def open_work(job: Job) -> InferWork:
    """The model and the rows of a job.

    Raises:
        UsageError: The model generates.
        HftoolError: What `load` raises.
    """
    loaded = trained(load(job.model, device="cpu", offline=job.offline, fallback=job.fallback), None)
    if head_spec(loaded.head_config.head).generates:
        raise UsageError(f"a model that is to {loaded.head_config.head} generates", f"hftool bench generate {job.model}")
    rows, labels, origin = rows_of(loaded, job.file, job.rows)
    return InferWork(job, loaded, rows, origin, labels)


def comparable(answer: Answer) -> Any:
    """The part of an answer that is compared: what was chosen, not how certain it is."""
    for key in ("label", "labels", "score", "tags", "answer"):
        if key in answer:
            return answer[key]
    if "masks" in answer:
        return [mask["fills"][0]["token"] for mask in answer["masks"]]
    return np.asarray(answer["embedding"]).tolist()


def _same(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """The share of outputs that are the same; of numbers and vectors that are close."""
    if isinstance(expected[0], float):
        spread = max(expected) - min(expected)
        close = [abs(one - other) <= SAME_NUMBER * spread for one, other in zip(expected, found, strict=True)]
        return float(sum(close) / len(close))
    if isinstance(expected[0], list) and isinstance(expected[0][0], float):
        cosine: torch.Tensor = torch.cosine_similarity(torch.tensor(expected), torch.tensor(found))
        same: float = (cosine >= SAME_VECTOR).float().mean().item()
        return same
    return shares(expected, found)
