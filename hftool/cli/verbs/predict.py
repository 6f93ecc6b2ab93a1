"""The command `hftool predict`."""

import sys
from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import (
    Device,
    Encoding,
    Head,
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
from hftool.errors import UsageError

NAME = "predict"
File = Annotated[str | None, argument("FILE", "CSV, TSV, JSON, JSON Lines, Parquet, CoNLL or text.", show_default=False)]
Out = Annotated[
    str | None, option("--out", "FILE", "CSV, TSV, JSON Lines or Parquet, by its ending; by default JSON Lines on stdout.")
]
TopK = Annotated[int | None, number("--top-k", "Only the K most probable labels.", least=1, metavar="K")]


@shared_options("offline", "no_fallback")
@reads_files
@reads_columns("text", "text_pair", "source")
def command(
    *,
    model: Model,
    file: File = None,
    out: Out = None,
    top_k: TopK = None,
    head: Head = None,
    encoding: Encoding = None,
    device: Device = "auto",
    precision: Precision = "auto",
    columns: dict[str, str],
    reading: dict[str, Any],
    shared: Shared,
) -> None:
    """Answer every row of a file of any size, in order.

    A line has the row's own columns, then the parts of its answer: label and probabilities, entities, a text.

    \b
    hftool predict runs/a reviews.csv --out scored.csv
    """
    go_offline(shared.offline)
    from hftool import workflow

    if shared.as_json and out is None:
        what = "--json prints one document, and predict writes rows"
        raise UsageError(what, "Add --out FILE, or leave --json out for JSON Lines")
    with shared.screen() as progress:
        count = workflow.predict(
            model,
            file,
            out=out,
            column=columns,
            head=head,
            top_k=top_k,
            device=device,
            precision=precision,
            encoding=encoding,
            reading=reading,
            **shared.access(progress),
            handle=sys.stdout,
        )
    if shared.as_json:
        print_json({"out": out, "rows": count})
    elif out is not None:
        typer.echo(f"{count} rows in {out}")
