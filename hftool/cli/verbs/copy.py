"""The command `hftool copy`."""

import shlex
from typing import Annotated

import typer

from hftool.cli.options import Json, Quiet, argument, option
from hftool.cli.progress import print_json

NAME = "copy"
Out = Annotated[str | None, option("--out", "FILE", "Output file; by default RECIPE.py here.")]
Recipe = Annotated[str, argument("RECIPE", "A recipe, such as bert.")]


def command(recipe: Recipe, out: Out = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write a recipe into the current folder, to be edited.

    \b
    hftool copy bert
    hftool copy bert --out mine.py
    """
    from hftool import workflow

    path = workflow.copy(recipe, out=out)
    if as_json:
        print_json({"path": str(path)})
        return
    typer.echo(str(path) if quiet else f"{path} is yours now. Run it: python {shlex.quote(str(path))}")
