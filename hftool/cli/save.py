"""hftool save"""

import json
from typing import Annotated

import typer

from hftool.cli.options import Json, Quiet, Verbose, go_offline
from hftool.cli.screen import screen

NAME = "save"
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, finished or not.")]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="The model folder to write.")]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="best, last, or a name such as step-000400.")]


def command(
    run: Run,
    out: Out,
    checkpoint: Checkpoint = "best",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a run's model as a plain Hugging Face folder. Needs no network.

    hftool save runs/a --out my-model
    """
    go_offline(True)
    from hftool import workflow

    with screen(quiet=quiet, verbose=verbose, as_json=as_json):
        path = workflow.save(run, out=out, checkpoint=checkpoint)
    typer.echo(json.dumps({"path": str(path)}) if as_json else f"saved in {path}")
