"""Fine-tuning: one epoch over labelled rows, timed from the start of its first step to the end of its last."""

import dataclasses
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from hftool.benchmark.arm import Arm, Outcome
from hftool.benchmark.floor import OPTIMIZER_BYTES, Shape
from hftool.benchmark.job import Job
from hftool.benchmark.rows import SENTENCES
from hftool.engines.torch import TorchEngine
from hftool.errors import UsageError
from hftool.heads import get_head
from hftool.inference.predictor import Predictor
from hftool.models import Loaded
from hftool.progress import Event
from hftool.registry.heads import head_spec
from hftool.workflow._finetune import finetune
from hftool.workflow._load import INT8, load
from hftool.workflow._prepare import prepare_training
from hftool.workflow.plan import FinetuneJob

MOST = 1.1  # of the loss before training: more is divergence, and few steps may leave it as it was
NEVER = 10**6  # steps between evaluations
TASKS = {"decoder": "stories-mini", "encoder-decoder": "dialogsum-mini"}  # by architecture; otherwise sst2-mini


class Clock:
    """Measures the seconds from the start of the first step to the end of the last."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.rows = 0

    def start(self, rows: int) -> None:
        """The first of the steps over so many rows starts."""
        self.first, self.rows = time.perf_counter(), rows

    def tick(self) -> None:
        """A step has ended."""
        self.last = time.perf_counter()

    def outcome(self, loss: float) -> Outcome:
        """The run, with the loss of its model on the validation split."""
        return Outcome({"loss": loss}, self.rows, self.last - self.first)


@dataclasses.dataclass
class TrainWork:
    """A model and the rows on which it is fine-tuned."""

    job: Job
    architecture: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What finetune and prepare_training are called with."""
        job = self.job
        config: dict[str, Any] = {
            "epochs": 1,
            "batch_size": job.batch,
            "limit": job.rows,
            "lr": job.learning_rate,
            "device": "cpu",
        }
        task = TASKS.get(self.architecture, SENTENCES)
        if job.file:
            task, config = "", {**config, "train": job.file, "validation": job.file, "allow_leak": True}
        config |= {"eval_steps": NEVER}
        return {"task": task or None, "config": config, "offline": job.offline, "fallback": job.fallback}

    def ours(self, variant: str) -> Arm:
        """`hftool finetune` with its defaults. variant: its precision. Raises UsageError for a precision of generation."""
        if variant == INT8:
            raise UsageError("models are not trained in int8", "Leave it out")

        def _run() -> Outcome:
            clock = Clock()

            def progress(event: Event) -> None:
                """Follow the steps."""
                if event.kind == "plan":
                    clock.start(int(event.values["rows"]))
                if event.kind == "step":
                    clock.tick()

            given = self.arguments
            given["config"]["precision"] = variant
            with tempfile.TemporaryDirectory() as folder:
                result = finetune(self.job.model, out=Path(folder) / "run", progress=progress, **given)
            return clock.outcome(float(result.metrics["validation"]["loss"]))

        return Arm(_run, self._format(variant))

    def prepared(self) -> FinetuneJob:
        """The model with a new head and the encoded rows, as `finetune` has them before its first step."""
        return prepare_training(self.job.model, **self.arguments)

    def _format(self, variant: str) -> str:
        settings = self.prepared().settings if variant == "auto" else None
        return settings.precision if settings else variant

    def facts(self) -> dict[str, Any]:
        """The rows; the operations of a sample, and the bytes of the optimizer in its share of a step."""
        prepared = self.first
        features, loaded = prepared.encoded["train"], prepared.loaded
        lengths = [feature.length for feature in features]
        shape, spec = Shape.of(loaded.model), head_spec(loaded.head_config.head)
        first = spec.name == "classify" and loaded.family.architecture == "encoder"
        forward = shape.forward(lengths, first_token=first, head=shape.output > 0) / len(features)
        return {
            "rows": len(features),
            "from": Path(self.job.file).name if self.job.file else self.arguments["task"],
            "tokens": round(statistics.mean(lengths), 1),
            "head": spec.name,
            "batch": self.job.batch,
            "gflop": 3 * forward / 1e9,
            "bytes_of_unit": OPTIMIZER_BYTES * shape.parameters / min(self.job.batch, len(features)),
        }

    @functools.cached_property
    def first(self) -> FinetuneJob:
        """The job before training."""
        return self.prepared()

    @functools.cached_property
    def before(self) -> float:
        """The loss on the validation split before training."""
        return validation_loss(self.first, self.first.loaded)

    def compare(self, arm: str, outputs: Any) -> dict[str, Any]:
        """The loss on the validation split, before and after training."""
        loss, before = outputs["loss"], self.before
        fault = "" if loss <= MOST * before else f"its loss is {loss:.4f}, and {before:.4f} before training"
        return {"loss": loss, "before": before, "fault": fault}

    def close(self) -> None:
        """Nothing to stop."""


def validation_loss(prepared: FinetuneJob, loaded: Loaded) -> float:
    """The loss of a model on the validation split of a job."""
    head = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    loaded.model.eval()
    return Predictor(TorchEngine(loaded.model), head).score(prepared.encoded["validation"])[1]


def open_work(job: Job) -> TrainWork:
    """The model and the rows of a job. Raises HftoolError: what `load` raises."""
    loaded = load(job.model, device="cpu", offline=job.offline, fallback=job.fallback)
    return TrainWork(job, loaded.family.architecture)
