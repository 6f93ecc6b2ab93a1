"""prepare_training: what `finetune` decides and loads before its first step, for a training loop of your own."""

from collections.abc import Mapping
from typing import Any

from hftool.config import Config
from hftool.data.readers.tables import Table
from hftool.progress import Progress, notice, silent
from hftool.training.distributed import generators_claimed, seed_everything
from hftool.workflow._load import notify_tokenizer
from hftool.workflow.arguments import Model, Task, model_name, task_name
from hftool.workflow.in_memory import rows_table, task_of
from hftool.workflow.plan import FinetuneJob, ResolvedInputs, choose_head, find, make_settings, prepare, split


def prepare_training(
    model: Model | None = None,
    task: Task | None = None,
    *,
    config: Config | Mapping[str, Any] | None = None,
    head: str | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> FinetuneJob:
    """Read a task and load a model with a new head for it, as `finetune` does before its first step; nothing is written.

    Seeds the global generators of random, numpy and torch: a loop that draws from them as `finetune` does has its losses
    (`recipes/bert.py`).

    Args:
        model: A name, a Hub id, a model folder or run folder.
        task: A name, a data file or folder, a Hub data set; or rows: a list of dicts, a pandas DataFrame, a datasets.Dataset.
        config: A Config, or a mapping of its keys.
        head: By default that of the task.
        offline: Open no socket.
        fallback: Whether stand-ins may be used.
        progress: Receives notices.

    Returns:
        The settings without open defaults, the splits with their rows, the model with its tokenizer, and the features.

    Raises:
        HftoolError: What `finetune` raises before its first step.
    """
    settings, rows = settings_and_rows(model, task, config, head)
    with generators_claimed():
        return seeded_job(find(settings, rows, offline=offline, fallback=fallback, progress=progress), progress)


def settings_and_rows(
    model: Model | None, task: Task | None, config: Config | Mapping[str, Any] | None, head: str | None
) -> tuple[Config, Table | None]:
    """The Config of a call, and the rows of a task in memory. Raises UsageError, DataError."""
    rows = rows_table(task)
    word = task_of(rows) if rows else None if task is None else task_name(task)
    settings = make_settings(config, model=None if model is None else model_name(model), task=word, head=head)
    choose_head(settings)
    return settings, rows


def seeded_job(found: ResolvedInputs, progress: Progress) -> FinetuneJob:
    """The job; its new head is the first thing that is drawn from the seed. Raises what `prepare` raises."""
    splits = split(found.settings, found.data, found.head)
    for sentence in splits.notices:
        notice(progress, sentence)
    seed_everything(found.settings.seed)
    job = prepare(found, splits, progress)
    notify_tokenizer(job.loaded.tokenizer, found.model_source, progress)
    return job
