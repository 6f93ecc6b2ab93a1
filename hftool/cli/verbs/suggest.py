"""The command `hftool suggest`."""

import sys
from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import (
    Device,
    Encoding,
    Model,
    Precision,
    Shared,
    argument,
    number,
    option,
    reads_columns,
    reads_files,
    shared_options,
)
from hftool.cli.progress import print_json
from hftool.cli.verbs.predict import Out, To
from hftool.errors import UsageError
from hftool.registry.formats import AUTO

NAME = "suggest"
Pool = Annotated[str | None, argument("POOL", "Rows without labels, in any file that predict reads.", show_default=False)]
Count = Annotated[int, number("--count", "How many rows.", least=1)]
Exclude = Annotated[str | None, option("--exclude", "FILE", "Rows that are not chosen, such as those that are labelled.")]


@shared_options("offline", "no_fallback")
@reads_files
@reads_columns("text", "text_pair")
def command(
    *,
    model: Model,
    pool: Pool = None,
    count: Count = 200,
    out: Out = None,
    to: To = None,
    exclude: Exclude = None,
    encoding: Encoding = None,
    device: Device = "auto",
    precision: Precision = "auto",
    columns: dict[str, str],
    reading: dict[str, Any],
    shared: Shared,
) -> None:
    """Choose the rows to label next: those of which the model is least sure, different from each other.

    \b
    hftool suggest runs/a pool.csv --count 200 --to label-studio --out tasks.json
    """
    go_offline(shared.offline)
    from hftool import workflow

    if shared.as_json and out is None:
        what = "--json prints one document, and suggest writes rows"
        raise UsageError(what, "Add --out FILE, or leave --json out for JSON Lines")
    with shared.screen() as progress:
        found = workflow.suggest(
            model,
            pool,
            count=count,
            out=out,
            to=to or AUTO,
            exclude=exclude,
            column=columns,
            device=device,
            precision=precision,
            encoding=encoding,
            reading=reading,
            **shared.access(progress),
        )
    _print(found, out, shared)


def _print(found: Any, out: str | None, shared: Shared) -> None:
    """Print the rows, unless they are in `out`, and what was chosen from how many."""
    from hftool.data.writers import write_lines

    figures = {name: value for name, value in vars(found).items() if name != "rows"}
    if shared.as_json:
        print_json({"out": out, "rows": len(found.rows), **figures})
        return
    if out is None:
        write_lines(sys.stdout, found.rows)
    counts = {"repeat others": found.copies, "are annotated": found.annotated, "cannot be used": found.unusable}
    left_out = "".join(f"; {number} {why}" for why, number in counts.items() if number)
    what = f"{len(found.rows)} of {found.pool} different rows{f' in {out}' if out else ''}{left_out}"
    line = f"{what}: mean uncertainty {found.uncertainty:.4f}, that of the pool {found.pool_uncertainty:.4f}"
    if out is not None or not shared.quiet:
        typer.echo(line, err=out is None)
