"""Notices before the first step of a run: truncated rows, new weights, the settings, and the estimated time."""

from hftool.progress import Event, Progress, notice
from hftool.training.adapters import learning_share
from hftool.training.estimate import estimate_seconds
from hftool.training.loop import Trainer
from hftool.workflow.plan import FinetuneJob
from hftool.workflow.targets import UNEVEN_METRICS

LONG_RUN = 30 * 60  # seconds, above which the notice names ways to shorten a run
FEW_STEPS = 50  # with fewer a new head is hardly trained


def truncated_rows(job: FinetuneJob) -> dict[str, int]:
    """The number of truncated rows of each split."""
    return {name: sum(feature.truncated > 0 for feature in features) for name, features in job.encoded.items()}


def notify_plan(trainer: Trainer, job: FinetuneJob, progress: Progress) -> None:
    """Send the notices, and the event `plan`."""
    settings, features = job.settings, job.encoded["train"]
    rows = len(job.splits.train.rows)
    for name, truncated in truncated_rows(job).items():
        if truncated:
            what = f"{truncated} of {len(job.splits.get(name).rows)} {name} rows are longer than {settings.max_length} tokens"
            notice(progress, f"{what} and are truncated")
    without_target = sum(feature.target_lost for feature in features)
    if without_target:
        what = (
            f"{without_target} of {rows} train rows have an answer that no window of {settings.max_length} tokens holds whole"
        )
        notice(progress, f"{what}: they are trained as rows without one. A larger --max-length holds more")
    for note in job.loaded.notes:
        notice(progress, note)
    if settings.metric is None and job.loaded.head_config.measures == UNEVEN_METRICS:
        what = f"the classes are uneven: {UNEVEN_METRICS[0]} chooses the best checkpoint"
        notice(progress, f"{what}; --metric accuracy uses the share of right answers")
    if job.loaded.new_weights:
        notice(progress, f"new weights, to be trained: {', '.join(job.loaded.new_weights)}")
        if trainer.steps < FEW_STEPS and settings.max_steps is None:
            notice(progress, f"{trainer.steps} steps are few to train them: --epochs N or --batch-size 8 gives more")
    if settings.lora:
        share = learning_share(trainer.model)
        notice(progress, f"{share:.1%} of the weights are trained: the head, and adapters of rank {settings.lora}")
    seconds = estimate_seconds(trainer)
    took = "time unknown, as memory ran out" if seconds is None else f"about {_duration(seconds)}, evaluations and saving aside"
    took += "; to make it shorter: --limit N, --epochs 1, --max-length N" if (seconds or 0) > LONG_RUN else ""
    notice(
        progress,
        f"{trainer.steps} steps of {trainer.rows_a_step} rows on {settings.device} in {settings.precision}, "
        f"{settings.optimizer} at {settings.lr:g} ({settings.schedule}, {settings.warmup:.0%} warm-up), clipping at "
        f"{settings.clip:g}, at most {settings.max_length} tokens, patience {settings.patience}, seed {settings.seed}: {took}",
    )
    progress(Event("plan", values={"steps": trainer.steps, "rows": len(features)}))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
