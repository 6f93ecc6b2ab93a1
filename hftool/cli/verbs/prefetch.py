"""The command `hftool prefetch`."""

from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Model, Shared, argument, option, shared_options
from hftool.cli.progress import print_json

NAME = "prefetch"
Tasks = Annotated[list[str] | None, argument("TASK", "Names of `hftool tasks`, or Hub data sets.")]
WriteLock = Annotated[
    bool, typer.Option("--lock", help="Write hftool.lock here, or extend it: revisions, and the SHA-256 of each file.")
]
LockFile = Annotated[str | None, option("--lock-file", "FILE", "As --lock, with another file name.")]


@shared_options("offline")
def command(*, model: Model, tasks: Tasks = None, lock: WriteLock = False, lock_file: LockFile = None, shared: Shared) -> None:
    """Fetch what a job needs, so that it then runs with --offline.

    \b
    hftool prefetch bert sst2
    hftool prefetch bert sst2 --lock
    """
    go_offline(shared.offline)
    from hftool import workflow

    path = lock_file or ("hftool.lock" if lock else None)
    with shared.screen():
        found = workflow.prefetch(model, tasks or [], lock=path, offline=shared.offline)
    if shared.as_json:
        print_json({"fetched": [_document(one) for one in found], "lock": path})
        return
    for one in found:
        typer.echo(_line(one))
    if path is not None:
        typer.echo(f"lock  {path}")


def _document(one: Any) -> dict[str, Any]:
    keys = ("word", "kind", "repo", "revision", "already", "size")
    folder = str(one.folder) if one.folder is not None else None
    return {**{key: getattr(one, key) for key in keys}, "folder": folder}


def _line(one: Any) -> str:
    if one.message:
        return f"{one.word}  {one.message}"
    came = "is here already" if one.already else "fetched"
    return f"{one.word}  {one.repo}@{one.revision}  {one.size / 1e6:,.1f} MB  {came}"
