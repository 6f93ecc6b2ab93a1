"""hftool tasks"""

import dataclasses

import typer

from hftool.cli.options import Json
from hftool.cli.screen import print_json
from hftool.registry.tasks import TASKS

NAME = "tasks"


def command(as_json: Json = False) -> None:
    """The tasks known by name. Any CSV, TSV, JSON, JSON Lines or Parquet file is a task as well."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in TASKS])
        return
    typer.echo(f"{'name':<12}{'head':<10}{'data':<18}{'without a network':<20}about")
    for row in TASKS:
        source = f"{row.repo}:{row.config}" if row.repo else "bundled"
        typer.echo(f"{row.name:<12}{row.head:<10}{source:<18}{row.stand_in or 'the same':<20}{row.about}")
