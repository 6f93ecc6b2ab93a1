"""hftool copy"""

from typing import Annotated

import typer

from hftool.cli.options import Json
from hftool.cli.screen import print_json

NAME = "copy"
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe, such as bert.")]


def command(
    recipe: Recipe,
    as_json: Json = False,
) -> None:
    """Write a recipe into the current folder: now it is yours.

    \b
    hftool copy bert
    """
    from hftool import workflow

    path = workflow.copy(recipe)
    if as_json:
        print_json({"path": str(path)})
        return
    typer.echo(f"{path} is yours now. Run it: python {path}")
