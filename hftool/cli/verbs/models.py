"""The command `hftool models`."""

import dataclasses

import typer

from hftool.cli.options import Json, Quiet
from hftool.cli.progress import print_json
from hftool.registry.families import FAMILIES
from hftool.registry.models import MODELS

NAME = "models"


def command(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the models known by name. Any other checkpoint of these families works by its Hub id or folder."""
    heads = {family.name: family.heads for family in FAMILIES}
    if as_json:
        print_json([{**dataclasses.asdict(row), "heads": heads[row.family]} for row in MODELS])
        return
    width = max(len(row.name) for row in MODELS) + 2
    if not quiet:
        typer.echo(f"{'name':<{width}}{'family':<13}{'parameters':>11}  {'repository':<42}without a network")
    for row in MODELS:
        names = ", ".join(dict.fromkeys(name for _, names in reversed(row.stand_ins) for name in names))
        offline = "installed with [offline]" if row.package else "bundled" if row.bundled else names
        typer.echo(
            f"{row.name:<{width}}{row.family:<13}{row.parameters / 1e6:>9.1f} M  {row.repo or '-':<42}{offline}".rstrip()
        )
    if quiet:
        return
    typer.echo()
    for family in FAMILIES:
        typer.echo(f"{family.name:<{width}}can {', '.join(family.heads)}; untrained: {family.natural}")
