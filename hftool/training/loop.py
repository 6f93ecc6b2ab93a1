"""The training loop with early stopping, the same for every head; losses are sums and counts, divided once by the total count.

Why not transformers' Trainer: its loss and gradient are multiplied by the accumulation steps for these families
(https://github.com/huggingface/transformers/issues/47688), and its checkpoints are neither atomic nor verified.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from hftool.config import Config
from hftool.data.batches import split_step, step_batches
from hftool.engines.torch import without_cache
from hftool.errors import ConfigError, RunStopped
from hftool.heads.protocol import Feature, Head
from hftool.progress import Event, Progress, notice
from hftool.storage.run_folder import Run, append_lines, truncate_log
from hftool.training.bf16_encoder import bf16_encoder, running
from hftool.training.checkpoint_schema import PYTHON
from hftool.training.checkpoints import OPTIMIZER, CheckpointManager, load_weights, read_state
from hftool.training.distributed import all_gather_json, autocast, largest, share_of, sum_gradients, synchronized
from hftool.training.divergence import HINT_DIVERGED, FiniteGuard, all_finite, backward_within_memory
from hftool.training.optimizer import make_optimizer, scale_and_clip, schedule_factor, unpack_optimizer
from hftool.training.random_state import load_generators, pack_generators
from hftool.training.signals import Signals, signals_deferred
from hftool.training.training_state import TrainingState

Report = Mapping[str, Any]


@dataclass
class Meter:
    """Loss and tokens since the last logged step."""

    loss: float = 0.0
    count: int = 0
    tokens: int = 0
    since: float = field(default_factory=time.perf_counter)

    def read(self) -> tuple[float, float]:
        """Mean loss and tokens per second; resets the sums."""
        seconds = max(time.perf_counter() - self.since, 1e-9)
        values = self.loss / max(self.count, 1), self.tokens / seconds
        self.loss, self.count, self.tokens, self.since = 0.0, 0, 0, time.perf_counter()
        return values


class Trainer:
    """Trains a model.

    With several processes each has a Trainer and takes its share of the rows of every step; gradients are added up and divided
    once by the total count, and only the main process writes files.

    Args:
        model: Its weights are updated in place.
        head: Defines batches, loss and metrics.
        features: The encoded train rows.
        config: All settings, with a learning rate.
        precision: fp32, or bf16 for matrix products only.
        accelerator: An accelerate.Accelerator.
        evaluate: Evaluates the current model -> its report, with the metrics of the head and the loss.
        run: Where checkpoints and log are written.
        progress: Receives events and notices.
        lines: The line of each feature in the train file, for errors that name rows.
    """

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        head: Head,
        features: Sequence[Feature],
        config: Config,
        precision: str,
        accelerator: Any,
        evaluate: Callable[[], Report],
        run: Run,
        progress: Progress,
        lines: Sequence[int] = (),
    ) -> None:
        assert config.lr is not None and config.batch_size is not None
        self.head, self.features, self.config, self.precision = head, features, config, precision
        self.accelerator, self.evaluate, self.run, self.progress = accelerator, evaluate, run, progress
        optimizer = make_optimizer(config.optimizer, model, lr=config.lr, weight_decay=config.weight_decay)
        self.arguments = without_cache(model)
        # not wrapped in DDP, which averages gradients: with different counts a mean of means is wrong
        self.model, self.optimizer = model.to(accelerator.device), accelerator.prepare(optimizer)
        self.encoder = bf16_encoder(model) if precision == "bf16" and accelerator.device.type == "cpu" else None
        if self.encoder is not None and accelerator.num_processes > 1:
            self.encoder.rows = None  # processes add up whole gradients
        self.store = CheckpointManager(run.checkpoints, keep=config.keep)
        self.lengths = [feature.length for feature in features]
        self.position, self.meter, self.finite = TrainingState(), Meter(), FiniteGuard(lines)
        self.rows_a_step = config.batch_size * config.accumulate * accelerator.num_processes
        self.micro = config.batch_size  # rows in one forward pass: fewer once memory has run out
        self.steps_an_epoch = math.ceil(len(features) / self.rows_a_step)
        self.steps = config.max_steps or max(1, math.ceil(round(config.epochs * self.steps_an_epoch, 6)))
        self.warmup = math.ceil(config.warmup * self.steps)
        self.saved_at = self.started = time.perf_counter()
        self.saving_seconds = self.norm = 0.0
        self.evaluated = True  # False from the save before an evaluation until it is done
        self.reports: dict[int, Report] = {}  # by step

    def restore(self, folder: Path) -> None:
        """Restore the exact state after the last step of a verified checkpoint. Raises ConfigError if it does not fit."""
        state = read_state(folder)
        load_weights(folder, self.model)
        if (folder / OPTIMIZER).is_file():  # otherwise the run was finished, and only evaluates and saves again
            unpack_optimizer(self.optimizer.optimizer, folder, state["optimizer"])
        self.position = TrainingState.from_json(state)
        self.meter.loss, self.meter.count = state["meter"]
        self.finite.in_a_row, self.finite.skipped = state["skipped"]
        self.micro, self.saving_seconds = state["micro"], state["seconds_saving"]
        self.norm, self.evaluated = state.get("norm", 0.0), state.get("evaluated", True)  # older checkpoints have neither
        if not (folder / OPTIMIZER).is_file() and not self._is_over():
            raise ConfigError(f"'{folder}' has no optimizer state to resume from", "Start again with another --out")
        with synchronized(self.accelerator) as is_main:
            if is_main:
                truncate_log(self.run.log, state["log_bytes"])
        load_generators(folder, state[PYTHON], self.accelerator.process_index)  # last: the code above may draw random numbers

    def train(self) -> TrainingState:
        """Train until the last step, the end of patience, or a signal; then load the best weights.

        Raises:
            Interrupted: A signal arrived; the checkpoint is saved.
            RunStopped: The loss diverged, or there is no memory for one row.
            StorageError: A checkpoint could not be written.
            DataError: The best checkpoint was damaged meanwhile.
        """
        self.model.train()
        self.started = time.perf_counter() - self.position.seconds
        with Signals(self.config.grace) as signals:
            if not self.evaluated:
                self._evaluate()
            for rows, batches in self._steps():
                try:
                    self._step(rows, batches)
                except RunStopped as error:
                    raise self._stopped(error.detail, error.hint) from None
                self._log()
                # read once, and equal in all processes: a later signal stops the next step
                clock = time.perf_counter() - self.saved_at > 60 * self.config.save_minutes
                signal, late = largest(self.accelerator, [signals.pending or 0, int(clock)])
                self._evaluate_or_save(rows, saving=bool(late), leaving=bool(signal))
                if signal:
                    raise signals.stop(str(self.run.path), self.position.step, number=signal)
        self.position.seconds = time.perf_counter() - self.started
        self.store.check_best(self.position.best_step)
        load_weights(self.store.path(self.position.best_step), self.model)
        self.model.eval()
        return self.position

    def _is_over(self) -> bool:
        patience = self.config.patience
        return self.position.step >= self.steps or bool(patience and self.position.evals_without_improvement >= patience)

    def _steps(self) -> Iterator[tuple[list[int], list[dict[str, torch.Tensor]]]]:
        """The rows of each step, and the collated batches of this process's share, until the run is over."""
        while not self._is_over():
            micro = self.micro
            for step in self._rest_of_epoch():
                yield step
                if self._is_over() or self.micro != micro:
                    break
            if self.position.step_in_epoch >= self.steps_an_epoch:
                self.position.epoch += 1
                self.position.step_in_epoch = 0

    def _rest_of_epoch(self) -> Iterator[tuple[list[int], list[dict[str, torch.Tensor]]]]:
        """The remaining steps of this epoch."""
        order = {"size": self.rows_a_step, "window": self.config.sort_steps, "seed": self.config.seed}
        plan = step_batches(self.lengths, epoch=self.position.epoch, **order)
        plan = plan[self.position.step_in_epoch :]
        parts = [split_step(share_of(self.accelerator, rows), size=self.micro) for rows in plan]
        # the loader draws a number when it starts; when resuming within an epoch it was drawn before
        generator = torch.Generator()
        if self.position.step_in_epoch == 0:
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        batches = DataLoader(
            cast("Dataset[Feature]", self.features),  # a list has the methods that are used of a Dataset
            batch_sampler=[part for step in parts for part in step],
            collate_fn=partial(self.head.collate, epoch_seed=self.epoch_seed()),
            num_workers=self.config.workers,
            generator=generator,
        )
        with signals_deferred():
            loader = iter(batches)
        for rows, step in zip(plan, parts, strict=True):
            self.position.step_in_epoch += 1
            yield rows, [next(loader) for _ in step]

    def epoch_seed(self) -> int:
        """A seed that differs between epochs and runs; never 0, which means evaluation."""
        return 1 + self.position.epoch + 1000 * self.config.seed

    def backward(self, batches: Sequence[dict[str, torch.Tensor]]) -> tuple[float, int]:
        """Accumulate the gradients of the summed loss over the batches of a step -> (sum of losses, count)."""
        total, count = torch.zeros(()), 0
        if self.encoder is not None:
            self.encoder.refresh()
        for collated in batches:
            batch = {key: value.to(self.accelerator.device) for key, value in collated.items()}
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            with autocast(self.accelerator.device, self.precision), running(self.encoder, batch["attention_mask"]):
                outputs = self.model(**inputs, **self.arguments)
            loss, n = self.head.loss(outputs, batch)
            self.accelerator.backward(loss)
            total = total.to(loss.device) + loss.detach()
            count += n
            self.meter.tokens += int(batch["attention_mask"].sum())
        return float(total), count

    def scale_and_clip(self, count: int) -> float:
        """Divide the summed gradients by the total count and clip them -> their norm before clipping."""
        norm = scale_and_clip(self.model.parameters(), count, self.config.clip)
        if self.encoder is not None:
            self.encoder.store()
        return norm

    def _step(self, rows: list[int], batches: Sequence[dict[str, torch.Tensor]]) -> None:
        factor = schedule_factor(self.config.schedule, self.position.step, total=self.steps, warmup=self.warmup)
        self.lr = factor * float(self.config.lr or 0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        loss, count = sum_gradients(self.accelerator, self.model, *backward_within_memory(self, rows, batches))
        norm = self.scale_and_clip(count)
        self.position.step += 1
        finite = math.isfinite(loss) and math.isfinite(norm)
        if self.finite.check(finite, step=self.position.step, lr=self.lr, rows=rows):
            self.optimizer.step()
            self.norm = norm
            self.meter.loss += loss
            self.meter.count += count
        else:
            notice(self.progress, f"step {self.position.step} is skipped: its loss or gradient is NaN or infinite")
        self.optimizer.zero_grad()

    def _log(self) -> None:
        step = self.position.step
        due = (step % self.config.log_steps == 0 or step == self.steps) and self.meter.count > 0  # 0: all steps were skipped
        seconds = time.perf_counter() - self.started
        left = seconds / step * (self.steps - step)
        values: dict[str, float | int | bool] = {"step": step, "steps": self.steps, "seconds_left": left, "logged": due}
        if due:
            loss, speed = self.meter.read()
            speed *= self.accelerator.num_processes
            line = {
                "step": step,
                "loss": loss,
                "lr": self.lr,
                "grad_norm": self.norm,
                "tokens_per_second": speed,
                "seconds": seconds,
            }
            self._write_line(line)
            values |= {"loss": loss, "learning_rate": self.lr, "grad_norm": self.norm, "tokens_per_second": speed}
        self.progress(Event("step", values=values))

    def _write_line(self, line: dict[str, Any]) -> None:
        with synchronized(self.accelerator) as is_main:
            if is_main:
                append_lines(self.run.log, [line])

    def _evaluate_or_save(self, rows: Sequence[int], *, saving: bool, leaving: bool) -> None:
        """Evaluate and save where it is due, and raise RunStopped if the model has diverged.

        The checkpoint comes first, as an evaluation may take longer than the grace period of a signal.

        Args:
            rows: The rows of the step, for the error.
            saving: Whether a checkpoint is due by the clock.
            leaving: Whether a signal arrived: the evaluation is left to the resumed run.
        """
        step, config = self.position.step, self.config
        last = step >= self.steps
        epoch_ends = self.position.step_in_epoch == self.steps_an_epoch
        evaluating = last or (step % config.eval_steps == 0 if config.eval_steps else epoch_ends)
        due = config.save_steps and step % config.save_steps == 0
        if not (evaluating or saving or leaving or due):
            return
        if not all_finite(self.model) or self.finite.skipped == step == self.steps:
            raise self._stopped(
                f"weights or loss are NaN or infinite at step {step} with learning rate {self.lr:.2g} "
                f"({self.finite.name(rows)})"
            )
        self.evaluated = not evaluating
        self._save()
        if evaluating and not leaving:
            self._evaluate()

    def _stopped(self, detail: str, hint: str = HINT_DIVERGED) -> RunStopped:
        """The error for a diverged run. Only finite weights are saved: others would replace good checkpoints."""
        if all_finite(self.model):
            self._save()
        steps = self.store.steps()
        kept = f"the last finite weights are kept in '{self.store.path(steps[-1])}'" if steps else "no weights were finite"
        return RunStopped(f"{detail}; {kept}", hint)

    def _evaluate(self) -> None:
        """Evaluate, and update the checkpoint of this step with the result."""
        python = random.getstate()  # a library may draw when it is first imported, as rich does (findings/rich_random.sh)
        self.model.eval()
        report = self.reports[self.position.step] = self.evaluate()
        self.model.train()
        random.setstate(python)
        deciding = self.head.metrics()
        metrics = {name: report[name] for name in dict.fromkeys((*deciding.names, "loss")) if name in report}
        self.position.judge(metrics, deciding)
        self._write_line({"step": self.position.step, "evaluation": metrics})
        self.progress(Event("evaluation", values={"step": self.position.step, **metrics}))
        self.meter.since = time.perf_counter()  # the speed of the next steps excludes the evaluation
        self.evaluated = True
        self._save(amending=True)

    def _save(self, *, amending: bool = False) -> None:
        started = time.perf_counter()
        self.position.seconds = started - self.started
        generators = all_gather_json(self.accelerator, pack_generators())
        path = self.store.path(self.position.step)
        with synchronized(self.accelerator) as is_main:
            if is_main and amending:
                self.store.amend(self._state(), generators)
            elif is_main:
                self.store.save(self.model, self.optimizer.optimizer, self._state(), generators)
        self.saved_at = time.perf_counter()
        spent = self.saved_at - started
        self.saving_seconds += spent
        self.meter.since += spent
        if not amending:
            self.progress(Event("saved", values={"step": self.position.step, "path": str(path)}))

    def _state(self) -> dict[str, Any]:
        """The state.json of a checkpoint."""
        return {
            **self.position.to_json(),
            "meter": [self.meter.loss, self.meter.count],
            "skipped": [self.finite.in_a_row, self.finite.skipped],
            "micro": self.micro,
            "norm": self.norm,
            "evaluated": self.evaluated,
            "seconds_saving": self.saving_seconds,
            "log_bytes": self.run.log.stat().st_size if self.run.log.is_file() else 0,
        }
