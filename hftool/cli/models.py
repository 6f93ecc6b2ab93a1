"""hftool models"""

import dataclasses

import typer

from hftool.cli.options import Json
from hftool.cli.screen import print_json
from hftool.registry.models import FAMILIES, MODELS

NAME = "models"


def command(as_json: Json = False) -> None:
    """The models known by name. Any other checkpoint of these families works by its Hub id or folder."""
    heads = {family.name: family.heads for family in FAMILIES}
    if as_json:
        print_json([{**dataclasses.asdict(row), "heads": heads[row.family]} for row in MODELS])
        return
    typer.echo(f"{'name':<10}{'family':<10}{'parameters':>11}  {'repository':<42}{'heads':<12}without a network")
    for row in MODELS:
        offline = "installed with [offline]" if row.package else ", ".join(f"{head}: {name}" for head, name in row.stand_ins)
        typer.echo(
            f"{row.name:<10}{row.family:<10}{row.parameters / 1e6:>9.1f} M  {row.repo:<42}"
            f"{', '.join(heads[row.family]) or '-':<12}{offline}".rstrip()
        )
