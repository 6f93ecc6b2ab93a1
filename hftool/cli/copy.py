"""hftool copy"""

from typing import Annotated

import typer

from hftool.cli.options import Json

NAME = "copy"
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe, such as bert.")]


def command(
    recipe: Recipe,
    as_json: Json = False,
) -> None:
    """Write a recipe into the current folder: now it is yours.

    hftool copy bert
    """
    from hftool import workflow

    path = workflow.copy(recipe)
    if as_json:
        import json

        typer.echo(json.dumps({"path": str(path)}))
        return
    typer.echo(f"{path} is yours now. Run it: python {path}")
