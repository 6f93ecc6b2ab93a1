"""The command `hftool tasks`."""

import dataclasses

import typer

from hftool.cli.options import Json, Quiet
from hftool.cli.progress import print_json
from hftool.registry.tasks import TASKS

NAME = "tasks"


def command(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the tasks known by name. Any CSV, TSV, JSON, JSON Lines or Parquet file is a task as well."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in TASKS])
        return
    if not quiet:
        typer.echo(f"{'name':<16}{'head':<11}{'data':<38}{'without a network':<19}about")
    for row in TASKS:
        source = (f"{row.repo}:{row.config}" if row.config else row.repo) or "bundled"
        offline = row.stand_in or ("the same" if row.bundled else "-")
        typer.echo(f"{row.name:<16}{row.head:<11}{source:<38}{offline:<19}{row.about}")
