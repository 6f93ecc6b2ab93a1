"""The command `hftool save`."""

from typing import Annotated

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Shared, argument, option, shared_options
from hftool.cli.progress import print_json

NAME = "save"
Run = Annotated[str, argument("RUN", "A run folder, finished or not.")]
Out = Annotated[str, option("--out", "DIR", "The model folder to write.")]
Checkpoint = Annotated[str, option("--checkpoint", "NAME", "best, last, or a name such as step-000400.")]


@shared_options()
def command(*, run: Run, out: Out, checkpoint: Checkpoint = "best", shared: Shared) -> None:
    """Write a run's model as a plain Hugging Face folder. Needs no network.

    \b
    hftool save runs/a --out my-model
    """
    go_offline(True)
    from hftool import workflow

    with shared.screen():
        path = workflow.save(run, out=out, checkpoint=checkpoint)
    if shared.as_json:
        print_json({"path": str(path)})
    else:
        typer.echo(f"saved in {path}")
