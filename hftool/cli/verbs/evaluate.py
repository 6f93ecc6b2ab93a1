"""The command `hftool evaluate`."""

from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import (
    Device,
    Encoding,
    Head,
    Model,
    Shared,
    argument,
    choice,
    number,
    of_data,
    option,
    reads_columns,
    reads_files,
    shared_options,
)
from hftool.cli.progress import print_json
from hftool.config import FILES, KNOBS
from hftool.progress.display import number_text

NAME = "evaluate"
CORNER = "true, answered"
Task = Annotated[str | None, argument("TASK", "A task or a file; by default the run's own data.", show_default=False)]
Split = Annotated[str | None, choice("--split", "train, validation or test; by default test if it has labels.", FILES)]
Limit = Annotated[int | None, number("--limit", "Evaluate on a seeded sample of N rows.", least=1)]
Seed = Annotated[int, number("--seed", "Random seed of the sample.", least=0, most=KNOBS["seed"].most)]
Metric = Annotated[
    str | None, option("--metric", "PATH", "A script of the evaluate library, or a name on the Hub, to measure with.")
]
TrustMetric = Annotated[
    str | None, option("--trust-metric", "NAME", "Run the code of a metric from the Hub: its name, repeated.")
]
LabelsSep = Annotated[
    str | None, of_data("--labels-sep", "TEXT", "Separator of several labels in one cell; by default as the model was trained.")
]
Out = Annotated[
    str | None, option("--out", "FILE", "Output file for the wrong rows; by default errors.jsonl in the run folder.")
]


@shared_options("offline", "no_fallback")
@reads_files
@reads_columns("text", "text_pair", "label", "source", "target")
def command(
    *,
    model: Model,
    task: Task = None,
    split: Split = None,
    head: Head = None,
    encoding: Encoding = None,
    labels_sep: LabelsSep = None,
    limit: Limit = None,
    seed: Seed = 0,
    out: Out = None,
    metric: Metric = None,
    trust_metric: TrustMetric = None,
    device: Device = "auto",
    columns: dict[str, str],
    reading: dict[str, Any],
    shared: Shared,
) -> None:
    """Evaluate a model on labelled rows.

    The metrics depend on the head: accuracy and F1 by class with the confusion matrix, correlation, entity F1 by type, exact
    match, ROUGE, BLEU, perplexity; and the wrong rows, worst first.

    A metric of the evaluate library is code: a script runs because you name it, one on the Hub only if it is named twice.

    \b
    hftool evaluate runs/a --split validation
    """
    go_offline(shared.offline)
    from hftool import workflow

    with shared.screen() as progress:
        report = workflow.evaluate(
            model,
            task,
            split=split,
            column=columns,
            head=head,
            limit=limit,
            seed=seed,
            device=device,
            encoding=encoding,
            reading=reading,
            labels_sep=labels_sep,
            errors=out,
            metric=metric,
            trust_metric=trust_metric,
            **shared.access(progress),
        )
    (print_json if shared.as_json else _show)({"split": report.split, **report.metrics, "errors": len(report.errors)})


def _show(metrics: dict[str, Any]) -> None:
    """Print the metrics, then the tables of a report: by class or type, and the confusion matrix."""
    wrong = f", {metrics['errors']} wrong" if {"accuracy", "exact_match", "subset_accuracy"} & set(metrics) else ""
    typer.echo(f"{metrics['split']}: {metrics['rows']} rows{wrong}")
    majority, median = metrics.get("majority_baseline"), metrics.get("median_baseline")
    constant = metrics.get("constant_baseline", {})
    for name, value in metrics.items():
        if isinstance(value, float):
            baseline = (
                f"  (always '{majority['label']}': {majority['accuracy']:.4f})" if majority and name == "accuracy" else ""
            )
            if median and name == "mean_absolute_error":
                baseline = f"  (always {number_text(median['score'])}: {number_text(median[name])})"
            if name in constant:
                baseline = f"  (always '{', '.join(constant['labels'])}': {constant[name]:.4f})"
            typer.echo(f"  {name:<20}{number_text(value)}{baseline}")
    module = metrics.get("module", {})
    for name, value in module.items():
        if isinstance(value, (int, float)):
            typer.echo(f"  {name:<20}{number_text(value)}  ({module['name']})")
    for title, key, count in (("label", "by_class", "rows"), ("type", "by_type", "entities")):
        if metrics.get(key):
            _show_table(metrics[key], title, count)
    if "confusion" in metrics:
        _show_confusion(metrics["confusion"])


def _show_table(rows: dict[str, Any], title: str, count: str) -> None:
    width = max(len(title), *map(len, rows)) + 2
    typer.echo(f"\n  {title:<{width}}precision  recall      f1{count:>10}")
    for name, values in rows.items():
        typer.echo(f"  {name:<{width}}{values['precision']:9.4f}{values['recall']:8.4f}{values['f1']:8.4f}{values[count]:10d}")


def _show_confusion(confusion: dict[str, Any]) -> None:
    labels = confusion["labels"]
    width = max(16, len("label") + 2, *(len(name) + 2 for name in labels))
    typer.echo(f"\n  {CORNER:<{width}}" + "".join(f"{name[:10]:>12}" for name in labels))
    for name, row in zip(labels, confusion["matrix"], strict=True):
        typer.echo(f"  {name:<{width}}" + "".join(f"{count:12d}" for count in row))
