"""A predictor without a model: it records its batches, and waits, fails, hangs or exits on demand."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftool.errors import DataError
from hftool.heads.protocol import Feature, SamplingParams
from hftool.inference.predictor import FeatureBatch
from hftool.models import HeadConfig
from hftool.server.batching.batcher import Batcher
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats


@dataclass(frozen=True, eq=False)
class FakeHead:
    """A token is a word; a text with "unreadable" in it raises DataError, one with "odd" KeyError."""

    sampling: SamplingParams | None = None
    batch_tokens: int = 64
    tokenizer: Any = None
    head_config: HeadConfig = field(default_factory=lambda: HeadConfig(head="classify"))
    encoded: list = field(default_factory=list)

    def encode(self, rows):
        texts = [row["text"] for row in rows]
        self.encoded.append(texts)
        for text in texts:
            if "unreadable" in text:
                raise DataError(f"'{text}' cannot be read")
            if "odd" in text:
                raise KeyError(text)
        return [Feature(np.zeros(len(text.split()), np.int32), i, aux=text) for i, text in enumerate(texts)]


@dataclass(frozen=True, eq=False)
class FakePredictor:
    """batches: the texts of each, the warm-up left out. gate: closed, a batch waits in it. entered: released by each batch.
    reaction: called with the texts of each batch; it may raise."""

    head: FakeHead = field(default_factory=FakeHead)
    batch_tokens: int | None = None
    packs: bool = False
    batches: list = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    reaction: Any = lambda texts: None
    steps: list = field(default_factory=list)
    pace: Any = lambda step: None

    def make_batches(self, features):
        yield FeatureBatch(range(len(features)), features, {})

    def compute(self, batch, on_token=None, is_cancelled=None):
        features = batch.features
        texts = [feature.aux for feature in features]
        warming = all(set(text.split()) == {"a"} for text in texts)
        if not warming:
            self.batches.append(texts)
            self.entered.release()
            self.gate.wait()
        self.reaction(texts)
        if self.head.sampling is None or warming:
            return texts
        return self._written(features, on_token, is_cancelled)

    def _written(self, features, on_token, is_cancelled):
        result = [[] for _ in features]
        going = list(range(len(features)))
        for step in range(self.head.sampling.max_new_tokens):
            self.pace(step)
            self.steps.append(len(going))
            for path in going:
                result[path].append(step)
                on_token(path, step)
            going = [path for path in going if not is_cancelled(path)]
            if not going:
                break
        return [f"{feature.aux} {len(ids)}" for feature, ids in zip(features, result, strict=True)]

    def join_rows(self, features, parts):
        return [{"text": " ".join(row)} for row in parts]

    async def inside(self):
        """Until a batch is in the gate."""
        await asyncio.to_thread(self.entered.acquire, timeout=10)


def opened(**changes):
    """A predictor whose gate is open."""
    fake = FakePredictor(**changes)
    fake.gate.set()
    return fake


@asynccontextmanager
async def serving(fake, *, make=None, stats=None, **limits):
    """A batcher that is ready."""
    batcher = Batcher(make or (lambda options: fake), Limits(**limits), stats or Stats())
    batcher.start()
    await until(lambda: batcher.ready)
    try:
        yield batcher
    finally:
        fake.gate.set()
        batcher.stop()


async def until(true, seconds=10.0):
    """Until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        await asyncio.sleep(0.002)


def ask(batcher, *texts, timeout=10.0, options=None, **more):
    """A request as a task."""
    return asyncio.create_task(
        batcher.submit([{"text": text} for text in texts], options=options or {}, timeout=timeout, **more)
    )


async def queued(batcher, count):
    """Until so many rows wait, tokenized or not."""
    await until(lambda: len(batcher._queue._untokenized) + len(batcher._queue._tokenized) == count)


def texts(answers):
    """The texts of the answers of a fake."""
    return [one["text"] for one in answers]


def writer(**changes):
    """A predictor that writes texts of 1000 tokens."""
    return opened(head=FakeHead(SamplingParams(max_new_tokens=1000)), **changes)
