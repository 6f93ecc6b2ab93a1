"""The word that makes a model: finetune."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool import config as knobs
from hftool.config import Config
from hftool.evaluation.report import make_report
from hftool.inference.predictor import Predictor
from hftool.machine import keep_freed_memory
from hftool.models import Card, save_base
from hftool.models.page import Story
from hftool.progress import Event, Progress, notice, silent
from hftool.run import (
    Run,
    append_lines,
    check_output,
    create_folder,
    fresh_run_path,
    locked,
    whole_folder,
    write_json,
    write_text,
)
from hftool.training.loop import Trainer
from hftool.training.placement import make_accelerator, seed_everything
from hftool.workflow.ask import make_predictor
from hftool.workflow.prepare import Found, Job, choose_head, find, make_settings, manifest, prepare, split
from hftool.workflow.save import save_folder

LONG_RUN = 30 * 60  # seconds, above which it is said how to make a run shorter
FEW_STEPS = 50  # with fewer a new head has hardly left where it began
MEASURED = ("validation", "test")


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its metrics by split, how long it took in seconds, and what stood in for what."""

    run: Run
    metrics: Mapping[str, Any]
    seconds: float
    stand_in: Mapping[str, str]


def finetune(
    model: str | None = None,
    task: str | None = None,
    *,
    config: Config | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    head: str | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Result:
    """Train a model on a task and write the run folder; its `model/` holds the best checkpoint.

    task: a name, a data file or folder, or a Hub data set. config: a Config, or a mapping of its keys, such as
    {"epochs": 1, "lr": 3e-5, "train": "train.tsv"}; unknown keys and values out of range are refused.
    Starts the global generators of random, numpy and torch from the seed. Raises any error of `hftool.errors`; nothing is
    written before usage, output, inputs, data and model were checked.
    """
    settings = make_settings(config, model=model, task=task, head=head)
    choose_head(settings)
    if out is not None:
        check_output(Path(out))
    found = find(settings, offline=offline, fallback=fallback, progress=progress)
    splits = split(settings, found.data, found.head)
    for sentence in splits.said:
        notice(progress, sentence)
    seed_everything(settings.seed)  # the new head is drawn next
    job = prepare(found, splits)
    run = Run(Path(out) if out is not None else _default_run(found))
    create_folder(run.path)
    with locked(run.path):
        return _run(run, job, progress)


def _default_run(found: Found) -> Path:
    """runs/bert-sst2-20261122-101530; a stand-in is named in it: runs/minilm-for-bert-sst2-mini-for-sst2-..."""
    settings, place, data = found.settings, found.place, found.data
    model = place.row.name if place.row else Path(settings.model or "model").name
    task = data.row.name if data.row else Path(settings.task or settings.train or "task").stem
    model += f"-for-{place.stand_in['asked']}" if place.stand_in else ""
    task += f"-for-{data.stand_in['asked']}" if data.stand_in else ""
    name = f"{model}-{task}".replace("/", "-").replace(":", "-")
    return fresh_run_path(Path("runs"), name, time.strftime("%Y%m%d-%H%M%S"))


def _run(run: Run, job: Job, progress: Progress) -> Result:
    """Inside the locked run folder: write down what is done, train, measure, save."""
    write_text(run.config, knobs.dump_config(job.settings))
    made = manifest(job) | {"cut": _cut_rows(job)}
    write_json(run.manifest, made)
    with whole_folder(run.base) as folder:
        save_base(job.loaded, folder)
    _write_rejected(run, job, progress)
    keep_freed_memory()
    predictor = make_predictor(job.loaded)
    trainer = Trainer(
        model=job.loaded.model,
        head=predictor.head,
        features=job.encoded["train"],
        lines=_lines(job),
        config=job.settings,
        precision=job.settings.precision,
        accelerator=make_accelerator(job.settings.device),
        evaluate=lambda: _deciding(predictor, job),
        run=run,
        progress=progress,
    )
    _say_plan(trainer, job, progress)
    position = trainer.train()
    metrics: dict[str, Any] = {
        "best_step": position.best_step,
        "steps": position.step,
        "seconds": position.seconds,
        "seconds_saving": trainer.saving_seconds,
        "skipped_steps": trainer.finite.skipped,
    }
    metrics |= {name: _measure(predictor, job, name) for name in MEASURED if name in job.encoded}
    story = Story(made, metrics, dataclasses.asdict(job.settings))
    with whole_folder(run.model) as folder:
        metrics["model"] = save_folder(job.loaded, _measured_card(job.loaded.card, metrics, predictor), folder, story)
    write_json(run.metrics, metrics)
    return Result(run, metrics, position.seconds, job.found.stand_ins())


def _cut_rows(job: Job) -> dict[str, int]:
    """How many rows of each split are longer than what is read of them."""
    return {name: sum(feature.cut > 0 for feature in features) for name, features in job.encoded.items()}


def _lines(job: Job) -> list[int]:
    """The line in the file of each feature; none for running text, whose blocks are no rows."""
    numbers = job.splits.train.numbers
    return [] if set(job.splits.columns) == {"text"} else [numbers[feature.row] for feature in job.encoded["train"]]


def _measure(predictor: Predictor, job: Job, name: str) -> dict[str, Any]:
    answers, loss = predictor.score(job.encoded[name])
    rows = job.splits.get(name).rows
    return make_report(answers, rows, predictor.head.metrics(), job.loaded.card.labels, loss)


def _deciding(predictor: Predictor, job: Job) -> dict[str, float]:
    """What the loop decides by: the head's metrics on validation, and the loss."""
    report = _measure(predictor, job, "validation")
    return {name: report[name] for name in dict.fromkeys((*predictor.head.metrics().names, "loss"))}


def _measured_card(card: Card, metrics: Mapping[str, Any], predictor: Predictor) -> Card:
    names = ("rows", *predictor.head.metrics().names)
    return dataclasses.replace(card, metrics={s: {n: metrics[s][n] for n in names} for s in MEASURED if s in metrics})


def _say_plan(trainer: Trainer, job: Job, progress: Progress) -> None:
    settings, features = job.settings, job.encoded["train"]
    cut = _cut_rows(job)["train"]
    if cut:
        rows = len(job.splits.train.rows)
        notice(progress, f"{cut} of {rows} train rows are longer than {settings.max_length} tokens and are cut")
    if job.loaded.new_weights:
        notice(progress, f"new weights, to be trained: {', '.join(job.loaded.new_weights)}")
        if trainer.steps < FEW_STEPS and settings.max_steps is None:
            notice(progress, f"{trainer.steps} steps are few to train them: --epochs N or --batch-size 8 gives more")
    seconds = trainer.estimate_seconds()
    shorter = "; to make it shorter: --limit N, --epochs 1, --max-length N" if seconds > LONG_RUN else ""
    notice(
        progress,
        f"{trainer.steps} steps of {trainer.rows_a_step} rows on {settings.device} in {settings.precision}, "
        f"{settings.optimizer} at {settings.lr:g} ({settings.schedule}, {settings.warmup:.0%} warm-up), clipping at "
        f"{settings.clip:g}, at most {settings.max_length} tokens, patience {settings.patience}, seed {settings.seed}: about "
        f"{_duration(seconds)}, evaluations and saving aside{shorter}",
    )
    progress(Event("plan", values={"steps": trainer.steps, "rows": len(features)}))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write_rejected(run: Run, job: Job, progress: Progress) -> None:
    for part in (job.splits.train, job.splits.validation, job.splits.test):
        if part is not None and part.rejected:
            lines = [{"split": part.split, "file": part.path, **row.as_dict()} for row in part.rejected]
            append_lines(run.rejected, lines)
            notice(progress, f"{len(part.rejected)} rows of {part.path} cannot be used: see {run.rejected}")
