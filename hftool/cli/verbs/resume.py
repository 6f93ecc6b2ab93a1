"""hftool resume"""

from pathlib import Path
from typing import Annotated

import typer

from hftool.cli.options import Json, MaxRestarts, Offline, Processes, Quiet, Verbose, go_offline
from hftool.cli.progress import screen
from hftool.cli.verbs.finetune import print_result, started_by_torch
from hftool.config import Config as Settings
from hftool.config import make_config, read_config
from hftool.storage.run_folder import Run as Folder

NAME = "resume"
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder that is not finished.")]


def command(
    context: typer.Context,
    run: Run,
    offline: Offline = False,
    processes: Processes = None,
    max_restarts: MaxRestarts = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with a run that was stopped or killed, bitwise as if it had not been.

    \b
    hftool resume runs/a
    """
    go_offline(offline)
    from hftool import workflow

    begun = Folder(Path(run))
    settings = make_config(read_config(str(begun.config))) if begun.is_run() else Settings()
    started_by_torch(context.obj, settings, out=run, resume=True, processes=processes, max_restarts=max_restarts)
    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        result = workflow.resume(run, offline=offline, progress=progress)
    print_result(result, quiet=quiet, as_json=as_json)
