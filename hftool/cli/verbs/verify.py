"""The command `hftool verify`."""

from typing import Annotated

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Shared, argument, shared_options
from hftool.cli.progress import print_json

NAME = "verify"
Folder = Annotated[str, argument("DIR", "A run, a model folder or an export.")]


@shared_options()
def command(*, folder: Folder, shared: Shared) -> None:
    """Check every file of a folder against its SHA-256: none missing, changed or added.

    Of a run model/, checkpoints/ and base/ are checked; its config.yaml, manifest, log and metrics have no checksums.

    \b
    hftool verify my-model
    """
    go_offline(True)
    from hftool import workflow

    with shared.screen():
        found = workflow.verify(folder)
    if shared.as_json:
        print_json({"path": str(found.folder), "kind": found.kind, "files": dict(found.files)})
        return
    if not shared.quiet:
        for name, digest in found.files.items():
            typer.echo(f"{digest}  {name}")
    typer.echo(f"{found.kind} {found.folder}: {len(found.files)} files match their checksums")
