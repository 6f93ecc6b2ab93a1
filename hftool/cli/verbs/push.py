"""The command `hftool push`."""

from dataclasses import asdict
from typing import Annotated

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Shared, argument, shared_options
from hftool.cli.progress import print_json

NAME = "push"
Folder = Annotated[str, argument("RUN", "A finished run, or a model folder.")]
Repo = Annotated[str, argument("OWNER/NAME", "The repository on the Hub.")]
Public = Annotated[bool, typer.Option("--public", help="Create a public repository; private by default.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the files. Opens no socket.")]


@shared_options()
def command(*, folder: Folder, repo: Repo, public: Public = False, dry_run: DryRun = False, shared: Shared) -> None:
    """Upload a model to the Hugging Face Hub in one commit, private unless --public.

    Only the unchanged files of the model are uploaded.

    \b
    hftool push runs/a ann/reviews --dry-run
    """
    go_offline(dry_run)
    from hftool import workflow

    with shared.screen() as progress:
        done = workflow.push(folder, repo, public=public, dry_run=dry_run, progress=progress)
    if shared.as_json:
        print_json({**asdict(done), "public": public, "dry_run": dry_run})
        return
    if dry_run or not shared.quiet:
        for file in done.files:
            typer.echo(f"{file.sha256}  {file.size:>13,}  {file.name}")
    seen = "public" if public else "private"
    if dry_run:
        typer.echo(f"would go to {repo} ({seen}): {len(done.files)} files; nothing was sent")
    else:
        typer.echo(f"pushed    {done.url}\nrevision  {done.revision}")
