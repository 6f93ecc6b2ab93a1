"""finetune, resume: train a model on a task and write the run folder."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hftool import config as knobs
from hftool.config import Config
from hftool.data.readers.tables import Table
from hftool.data.rows import rejected_documents
from hftool.errors import DataError, InputMissing, OutputUnavailable, RowsRejected, StorageError, UsageError
from hftool.evaluation.verdict import verdicts
from hftool.heads.model_card import RunProvenance
from hftool.inference.predictor import Predictor
from hftool.machine import TRAINING_KERNELS, keep_freed_memory, limit_kernel_caches
from hftool.models import HeadConfig, save_base
from hftool.models.sha256sums import write_checksums
from hftool.processes import restart_count
from hftool.progress import Progress, notice, silent
from hftool.storage.atomic import free_bytes, remove_file, remove_folder
from hftool.storage.run_folder import (
    Run,
    append_lines,
    check_output,
    create_folder,
    fresh_run_path,
    remove_parts,
    whole_folder,
    write_json,
    write_text,
)
from hftool.storage.stand_ins import as_texts, read_stand_ins
from hftool.training.adapters import merge_adapters
from hftool.training.checkpoints import CheckpointManager, checkpoint_bytes
from hftool.training.distributed import ProcessGroup, generators_claimed
from hftool.training.evaluation import measure
from hftool.training.loop import Trainer
from hftool.workflow._load import make_predictor
from hftool.workflow._prepare import seeded_job, settings_and_rows
from hftool.workflow._save import save_folder
from hftool.workflow.arguments import Model, Task, model_name, refuse_unknown
from hftool.workflow.finetune_notices import notify_plan, truncated_rows
from hftool.workflow.label_thresholds import with_thresholds
from hftool.workflow.plan import FinetuneJob, ResolvedInputs, find
from hftool.workflow.resolve import data_name
from hftool.workflow.resume_checks import FREE, as_recorded, check_recorded, check_same, check_unchanged, relocate
from hftool.workflow.run_manifest import manifest
from hftool.workflow.targets import restore_targets

MEASURED = ("validation", "test")


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its metrics by split, its time in seconds, and its stand-ins."""

    run: Run
    metrics: Mapping[str, Any]
    seconds: float
    stand_in: Mapping[str, str]


def finetune(
    model: Model | None = None,
    task: Task | None = None,
    *,
    config: Config | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    head: str | None = None,
    resume: bool = False,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
    **unknown: object,
) -> Result:
    """Train a model on a task and write the run folder; its `model/` holds the best checkpoint.

    Seeds the global generators of random, numpy and torch, so one thread of a process may train at a time. Works in each of the
    processes that torchrun or accelerate started. Nothing is written before usage, output, data and model were checked.

    Args:
        model: A name, a Hub id, or a model folder.
        task: A name, a data file or folder, a Hub data set; or rows: a list of dicts, a pandas DataFrame, a datasets.Dataset.
        config: A Config, or a mapping of its keys, such as {"epochs": 1, "lr": 3e-5, "train": "train.tsv"}.
        out: The run folder; by default runs/MODEL-TASK-TIME.
        head: By default that of the task.
        resume: Continue the run in `out`, bitwise as if it had not stopped, or start it.
        offline: Open no socket.
        fallback: Whether stand-ins may be used.
        progress: Receives events and notices.
        **unknown: Refused, with the nearest name.

    Raises:
        HftoolError: Any of `hftool.errors`.
    """
    refuse_unknown(finetune, unknown)
    limit_kernel_caches(TRAINING_KERNELS)
    settings, rows = settings_and_rows(model, task, config, head)
    with generators_claimed():
        return _finetune(settings, rows, out, resume, offline=offline, fallback=fallback, progress=progress)


def _finetune(
    settings: Config,
    rows: Table | None,
    out: str | Path | None,
    resume: bool,
    *,
    offline: bool,
    fallback: bool,
    progress: Progress,
) -> Result:
    """Start a run, or resume it."""
    team = ProcessGroup(settings.device)
    progress = progress if team.is_first else silent
    resuming = resume or restart_count() > 0
    run = Run(Path(out)) if out is not None else None
    if resuming and run is None:
        raise UsageError("which run?", "--resume needs --out RUN; or: hftool resume RUN")
    if run is not None and resuming and team.broadcast(run.is_run()):
        return _resume(run, settings, rows, team, offline=offline, progress=progress)
    if run is not None:
        with team.on_main() as is_main:
            if is_main and not (resuming and _is_incomplete(run)):
                check_output(run.path)
        if resuming:
            notice(progress, f"there is no run to resume in '{run.path}': it starts at step 0")
    found = find(settings, rows, offline=offline, fallback=fallback, progress=progress)
    path = run.path if run is not None else Path(team.broadcast(str(_default_run(found))))
    run = Run(path)
    with _rejected_kept(path, team):
        job = seeded_job(found, progress)
    with team.on_main() as is_main:
        if is_main and not path.is_dir():
            create_folder(path)
    with team.locked(run.path):
        return _run(run, job, team, progress)


def resume(run: Model, *, offline: bool = False, progress: Progress = silent) -> Result:
    """Continue a run, bitwise as if it had not stopped; a finished run stays as it is.

    A run that was trained on rows in memory needs them again: `finetune(MODEL, ROWS, out=RUN, resume=True)`.

    Args:
        run: A run folder, a Run, or the Result of `finetune`.
        offline: Open no socket.
        progress: Receives events and notices.

    Raises:
        InputMissing: No run folder.
        ConfigError: Settings, data or model have changed.
        DataError: All checkpoints are damaged, or the best.
        HftoolError: What `finetune` raises.
    """
    run = model_name(run)
    source = Run(Path(run))
    if not source.is_run():
        what = "is no run folder: it has no config.yaml and manifest.json" if source.path.is_dir() else "does not exist"
        raise InputMissing(f"'{run}' {what}", "Start it: hftool finetune MODEL TASK --out RUN")
    settings = knobs.make_config(knobs.read_settings(str(source.config)))
    return finetune(config=settings, out=run, resume=True, offline=offline, progress=progress)


def _is_incomplete(run: Run) -> bool:
    """Whether a folder holds only what a process leaves that was killed early, and nothing of the user."""
    known = (run.config.name, run.manifest.name, run.base.name, run.rejected.name)
    return run.path.is_dir() and all(p.name.startswith(".") or p.name in known for p in run.path.iterdir())


def _resume(run: Run, settings: Config, rows: Table | None, team: ProcessGroup, *, offline: bool, progress: Progress) -> Result:
    recorded, run_manifest = knobs.make_config(knobs.read_settings(str(run.config))), run.read_manifest()
    check_recorded(run_manifest, recorded, run.path)
    recorded = relocate(recorded, settings, run_manifest, run.path, progress)
    settings = relocate(settings, recorded, run_manifest, run.path, silent)
    check_same(recorded, settings, run.path)
    if run.is_finished():
        notice(progress, f"the run '{run.path}' is finished: nothing is left to do")
        _prune_checkpoints(run, recorded.keep, team, progress)
        metrics = run.read_metrics()
        return Result(run, metrics, metrics["seconds"], as_texts(read_stand_ins(run_manifest["stand_in"])))
    has_stand_in = bool(run_manifest["stand_in"])  # the same stand-in again, even if the real one is available by now
    with team.locked(run.path):
        found = find(recorded, rows, offline=offline or has_stand_in, fallback=has_stand_in, progress=progress)
        job = _restore_settings(seeded_job(found, progress), run)
        check_unchanged(run_manifest, manifest(job), run.path)
        if not CheckpointManager(run.checkpoints).steps():
            notice(progress, f"the run '{run.path}' has no checkpoint yet: it starts at step 0")
        free = {name: getattr(settings, name) for name in FREE}
        return _run(run, dataclasses.replace(job, settings=dataclasses.replace(job.settings, **free)), team, progress)


def _restore_settings(job: FinetuneJob, run: Run) -> FinetuneJob:
    """The job with the targets that the head config of the run recorded at its start."""
    return dataclasses.replace(
        job, loaded=dataclasses.replace(job.loaded, head_config=restore_targets(job.loaded.head_config, run.base))
    )


@contextmanager
def _rejected_kept(path: Path, team: ProcessGroup) -> Iterator[None]:
    """Where too many rows are unusable, they go into a file next to the run folder, and a DataError names it."""
    try:
        yield
    except RowsRejected as error:
        kept = path.with_name(f"{path.name}.rejected.jsonl")
        hint = f"{error.hint}; or allow a larger share with --max-rejected"
        with suppress(OutputUnavailable, StorageError):
            if team.is_first:
                if not kept.parent.is_dir():
                    create_folder(kept.parent)
                write_text(kept, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in error.rows))
            hint += f". All are in {kept}"
        raise DataError(error.detail, hint) from None


def _default_run(found: ResolvedInputs) -> Path:
    """runs/bert-sst2-20261122-101530; a stand-in is named in it: runs/minilm-for-bert-sst2-mini-for-sst2-..."""
    settings, model_source, data = found.settings, found.model_source, found.data
    model = model_source.row.name if model_source.row else Path(settings.model or "model").name
    task = data.row.name if data.row else data_name(settings.task or settings.train or "task")
    model += f"-for-{model_source.stand_in.requested}" if model_source.stand_in else ""
    task += f"-for-{data.stand_in.requested}" if data.stand_in else ""
    name = f"{model}-{task}".replace("/", "-").replace(":", "-")
    return fresh_run_path(Path("runs"), name, time.strftime("%Y%m%d-%H%M%S"))


def _run(run: Run, job: FinetuneJob, team: ProcessGroup, progress: Progress) -> Result:
    """Inside the locked run folder: record the settings, train, evaluate, save."""
    with team.on_main() as is_main:
        if is_main:
            _begin(run, job, progress)
    keep_freed_memory()
    predictor = make_predictor(job.loaded)
    evaluations = _evaluations(job, predictor, team)
    trainer = Trainer(
        model=job.loaded.model,
        head=predictor.head,
        features=job.encoded["train"],
        lines=_lines(job),
        config=job.settings,
        precision=job.settings.precision,
        accelerator=team.accelerator,
        evaluate=evaluations["validation"],
        run=run,
        progress=progress,
    )
    _restore(trainer, team, progress)
    notify_plan(trainer, job, progress)  # after it: a checkpoint may know for how many rows there is memory
    position = trainer.train()
    if job.adapted is not None:
        merge_adapters(job.adapted)  # so that the saved model is the measured one
    metrics: dict[str, Any] = {
        "best_step": position.best_step,
        "steps": position.step,
        "deciding": predictor.head.metrics().best,
        "seconds": position.seconds,
        "seconds_saving": trainer.saving_seconds,
        "skipped_steps": trainer.finite.skipped,
    }
    reports = {"validation": trainer.reports.get(position.best_step)} if job.adapted is None else {}
    if job.settings.thresholds == "f1":
        job = with_thresholds(job, team)
        predictor, reports = make_predictor(job.loaded), {}
        evaluations = _evaluations(job, predictor, team)
        metrics["thresholds"] = list(job.loaded.head_config.label_thresholds)
    metrics |= {name: reports.get(name) or evaluate() for name, evaluate in evaluations.items()}
    with team.on_main() as is_main:
        if is_main:
            _add_verdicts(run, predictor, metrics)
            _end(run, job, predictor, metrics)
            _release(trainer.store, progress)
    return Result(run, metrics, position.seconds, as_texts(job.found.stand_ins()))


def _evaluations(job: FinetuneJob, predictor: Predictor, team: ProcessGroup) -> dict[str, Callable[[], dict[str, Any]]]:
    """The evaluation of each measured split."""
    return {
        name: partial(measure, team, predictor, job.encoded[name], part.rows, job.loaded.head_config.labels)
        for name, part in job.splits.parts().items()
        if name in MEASURED
    }


def _add_verdicts(run: Run, predictor: Predictor, metrics: dict[str, Any]) -> None:
    """Add `verdicts` to the metrics of a run."""
    text = run.log.read_text(encoding="utf-8") if run.log.is_file() else ""
    lines = map(json.loads, text.splitlines())
    history = [line["evaluation"] for line in lines if "evaluation" in line]
    metrics["verdicts"] = verdicts(metrics["validation"], predictor.head.metrics(), history)


def _end(run: Run, job: FinetuneJob, predictor: Predictor, metrics: dict[str, Any]) -> None:
    """Write the model, then the metrics, which make the run finished."""
    remove_folder(run.model)  # of a run that was killed between its model and its metrics
    with whole_folder(run.model) as folder:
        provenance = RunProvenance(run.read_manifest(), metrics, dataclasses.asdict(job.settings))
        metrics["model"] = save_folder(
            job.loaded, _with_metrics(job.loaded.head_config, metrics, predictor), folder, provenance
        )
    write_json(run.metrics, metrics)


def _release(store: CheckpointManager, progress: Progress) -> None:
    """Remove the optimizer states of a finished run; a failure is a notice."""
    try:
        store.release()
    except StorageError as error:
        notice(progress, f"the optimizer states are kept: {error.detail}")


def _prune_checkpoints(run: Run, keep: int, team: ProcessGroup, progress: Progress) -> None:
    """`_release` for a run that was killed within it, or that an older version finished."""
    store = CheckpointManager(run.checkpoints, keep=keep)
    if not team.broadcast(bool(store.with_optimizers()) or any(store.folder.glob(".tmp-*"))):
        return
    with suppress(OutputUnavailable, OSError), team.locked(run.path), team.on_main() as is_main:
        if is_main:  # a read-only run stays as it is
            _release(store, progress)


def _begin(run: Run, job: FinetuneJob, progress: Progress) -> None:
    """Write what a run folder holds before the first step, or what is missing since a process was killed."""
    remove_parts(run.path)
    if not run.is_run():
        write_text(run.config, knobs.dump_config(job.settings))
        facts = {"cut": truncated_rows(job), "settings": as_recorded(job.settings), "run": str(run.path.absolute())}
        write_json(run.manifest, manifest(job) | facts)
    if not run.base.is_dir():
        with whole_folder(run.base) as folder:
            save_base(job.loaded, folder)
            write_checksums(folder)
    remove_file(run.rejected)
    _write_rejected(run, job, progress)


def _restore(trainer: Trainer, team: ProcessGroup, progress: Progress) -> None:
    """Restore the newest valid checkpoint; the first process chooses it, and moves damaged ones away."""
    found = None
    with team.on_main() as is_main:
        if is_main:
            found = trainer.store.newest(partial(notice, progress))
            trainer.store.rotate()  # a process may have been killed during it
    step = team.broadcast(found.name if found else "")
    if step:
        trainer.restore(trainer.store.folder / step)
        notice(progress, f"resuming after step {trainer.position.step} of {trainer.steps}")
        return
    if team.is_first:
        remove_file(trainer.run.log)  # lines of steps that no checkpoint holds
    team.seed_per_rank(trainer.config.seed)
    with team.on_main() as is_main:
        if is_main:
            check_room(trainer, progress)


def check_room(trainer: Trainer, progress: Progress) -> None:
    """Check, before the first step, the free disk space. Raises StorageError where one checkpoint and the model do not fit."""
    one = checkpoint_bytes(trainer.model)
    need, free = (trainer.config.keep + 2) * one, free_bytes(trainer.run.path)  # the best, and the next
    notices = f"{need} bytes are needed for checkpoints and model in '{trainer.run.path}', {free} are free"
    if free < 2 * one:
        raise StorageError(notices, "Free some space, or choose another --out")
    if free < need:
        notice(progress, f"{notices}: the run may end with a full disk")


def _lines(job: FinetuneJob) -> list[int]:
    """The line in the file of each feature; empty for running text, whose features are blocks."""
    numbers = job.splits.train.numbers
    return [] if set(job.splits.columns) == {"text"} else [numbers[feature.row] for feature in job.encoded["train"]]


def _with_metrics(head_config: HeadConfig, metrics: Mapping[str, Any], predictor: Predictor) -> HeadConfig:
    names = ("rows", *predictor.head.metrics().names)
    return dataclasses.replace(head_config, metrics={s: {n: metrics[s][n] for n in names} for s in MEASURED if s in metrics})


def _write_rejected(run: Run, job: FinetuneJob, progress: Progress) -> None:
    for part in job.splits.parts().values():
        if part.rejected:
            append_lines(run.rejected, rejected_documents(part.split, part.path, part.rejected))
            notice(progress, f"{len(part.rejected)} rows of {part.path} cannot be used: see {run.rejected}")
