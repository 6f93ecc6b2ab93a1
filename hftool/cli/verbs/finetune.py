"""The command `hftool finetune`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hftool.cli.help import DATA
from hftool.cli.next_command import next_command, read_facts
from hftool.cli.offline import go_offline
from hftool.cli.options import (
    Columns,
    MaxRestarts,
    Processes,
    Shared,
    argument,
    option,
    reads_columns,
    shared_options,
    with_knobs,
)
from hftool.cli.progress import print_json
from hftool.config import Config as Settings
from hftool.config import make_config, parse_assignments, read_settings
from hftool.errors import UsageError
from hftool.processes import is_worker
from hftool.progress.display import number_text
from hftool.storage.run_folder import Run

NAME = "finetune"
OF_A_TASK = ("head", "train", "validation", "test", "columns", "labels", "column_names")
Model = Annotated[str | None, argument("MODEL", "A name of `hftool models`, a Hub id or a folder.", show_default=False)]
Task = Annotated[
    str | None, argument("TASK", "A name of `hftool tasks`, a data file or folder, a Hub data set.", show_default=False)
]
Train = Annotated[str | None, option("--train", "FILE", "Train rows.", rich_help_panel=DATA)]
Validation = Annotated[str | None, option("--validation", "FILE", "Validation rows.", rich_help_panel=DATA)]
Test = Annotated[str | None, option("--test", "FILE", "Test rows.", rich_help_panel=DATA)]
Out = Annotated[str | None, option("--out", "DIR", "The run folder; by default runs/MODEL-TASK-TIME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in --out, or start it there.")]
Config = Annotated[str | None, option("--config", "FILE", "Knobs from a YAML file.")]
Assignments = Annotated[list[str] | None, option("--set", "KEY=VALUE", "Any knob; overrides --config.")]
Head = Annotated[str | None, option("--head", "WORD", "The head: what the model learns to do; by default that of the task.")]


@shared_options("offline", "no_fallback")
@with_knobs
@reads_columns("text", "text_pair", "label", "source", "target")
def command(
    context: typer.Context,
    *,
    model: Model = None,
    task: Task = None,
    train: Train = None,
    validation: Validation = None,
    test: Test = None,
    out: Out = None,
    resume: Resume = False,
    config: Config = None,
    assignments: Assignments = None,
    head: Head = None,
    column_names: Columns = None,
    processes: Processes = None,
    max_restarts: MaxRestarts = 0,
    columns: dict[str, str],
    knobs: dict[str, Any],
    shared: Shared,
) -> None:
    """Train a model on a task, keep the best checkpoint, evaluate it.

    \b
    hftool finetune bert sst2
    hftool finetune bert reviews.csv --text sentence --label stars --class-weights balanced
    """
    files = {"model": model, "task": task, "head": head, "train": train, "validation": validation, "test": test}
    files["column_names"] = column_names
    given = {key: value for key, value in files.items() if value is not None} | ({"columns": columns} if columns else {})
    settings = _settings(config, assignments or [], given, knobs)
    go_offline(shared.offline)
    from hftool import workflow

    started_by_torch(context.obj, settings, out=out, resume=resume, processes=processes, max_restarts=max_restarts)
    with shared.screen() as progress:
        result = workflow.finetune(config=settings, out=out, resume=resume, **shared.access(progress))
    print_result(result, quiet=shared.quiet, as_json=shared.as_json)


def started_by_torch(
    words: list[str], settings: Settings, *, out: str | None, resume: bool, processes: int | None, max_restarts: int
) -> None:
    """Start several processes with the same command line, where they are wanted, and exit with their code.

    resume: whether a run in `out` is resumed: it needs as many processes as before. Raises UsageError, InputMissing.
    """
    from hftool.training.launch import launch, wanted_processes

    run = Run(Path(out)) if resume and out is not None else None
    count = wanted_processes(processes, settings.device, run)
    if is_worker() or (count == 1 and not max_restarts):
        return
    if max_restarts and out is None:
        raise UsageError("a restart needs a run to resume", "--max-restarts needs --out RUN")
    sys.exit(launch(words, processes=count, max_restarts=max_restarts, grace=settings.grace))


def _settings(file: str | None, assignments: list[str], given: dict[str, Any], knobs: dict[str, Any]) -> Settings:
    """Flags override --set, which overrides the file; another task drops the files and columns of the file."""
    layers = [read_settings(file) if file else {}, parse_assignments(assignments), given | knobs]
    if any("task" in layer for layer in layers[1:]):
        layers[0] = {key: value for key, value in layers[0].items() if key not in OF_A_TASK}
    columns = {role: name for layer in layers for role, name in layer.get("columns", {}).items()}
    return make_config(*layers, {"columns": columns})


def print_result(result: Any, *, quiet: bool, as_json: bool) -> None:
    """Print the run folder, its metrics and the next command; or one JSON document."""
    path, metrics = result.run.path, result.metrics
    if as_json:
        facts = {"run": str(path), "seconds": result.seconds, "stand_in": dict(result.stand_in)}
        print_json({**facts, "metrics": dict(metrics)})
        return
    typer.echo(f"run         {path}")
    for split in ("validation", "test"):
        if split in metrics:
            typer.echo(f"{split:<12}{_line(metrics[split])}")
    if not quiet:
        share = 100 * metrics["seconds_saving"] / max(result.seconds, 1e-9)
        by = f" by {metrics['deciding']}" if "deciding" in metrics else ""
        best = f"best at step {metrics['best_step']} of {metrics['steps']}{by}"
        typer.echo(f"time        {result.seconds:.0f} s, {share:.1f} % of it saving; {best}")
    for sentence in metrics.get("verdicts", ()):
        typer.echo(f"verdict     {sentence}")
    typer.echo(f"next        {next_command(path, read_facts(result.run.model))}")


def _line(measured: dict[str, Any]) -> str:
    scores = {key: value for key, value in measured.items() if isinstance(value, float)}
    shown = {key: value for key, value in scores.items() if key != "loss"} if "perplexity" not in scores else scores
    values = "  ".join(f"{key} {number_text(value)}" for key, value in shown.items())
    majority, median = measured.get("majority_baseline"), measured.get("median_baseline")
    constant = measured.get("constant_baseline")
    baseline = f", majority {majority['accuracy']:.4f}" if majority else ""
    baseline += f", always '{', '.join(constant['labels'])}': micro_f1 {constant['micro_f1']:.4f}" if constant else ""
    baseline += f", median alone: error {number_text(median['mean_absolute_error'])}" if median else ""
    return f"{values}  ({measured['rows']} rows{baseline})"
