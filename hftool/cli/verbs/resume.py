"""The command `hftool resume`."""

from pathlib import Path
from typing import Annotated

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import MaxRestarts, Processes, Shared, argument, shared_options
from hftool.cli.verbs.finetune import print_result, started_by_torch
from hftool.config import Config as Settings
from hftool.config import make_config, read_settings
from hftool.storage.run_folder import Run as Folder

NAME = "resume"
Run = Annotated[str, argument("RUN", "A run folder that is not finished.")]


@shared_options("offline")
def command(
    *, context: typer.Context, run: Run, processes: Processes = None, max_restarts: MaxRestarts = 0, shared: Shared
) -> None:
    """Continue a run that was stopped or killed, bitwise as if it had not been.

    \b
    hftool resume runs/a
    """
    go_offline(shared.offline)
    from hftool import workflow

    folder = Folder(Path(run))
    settings = make_config(read_settings(str(folder.config))) if folder.is_run() else Settings()
    started_by_torch(context.obj, settings, out=run, resume=True, processes=processes, max_restarts=max_restarts)
    with shared.screen() as progress:
        result = workflow.resume(run, offline=shared.offline, progress=progress)
    print_result(result, quiet=shared.quiet, as_json=shared.as_json)
