"""The command `hftool deploy`."""

import shlex
from typing import Annotated

import typer

from hftool.cli.next_command import next_command, read_facts
from hftool.cli.offline import go_offline
from hftool.cli.options import Model, Shared, number, option, shared_options
from hftool.cli.progress import print_json

NAME = "deploy"
To = Annotated[str, option("--to", "WORD", "docker: an image; kubernetes: an image and its manifests; onnx: graphs.")]
Out = Annotated[str | None, option("--out", "DIR", "The folder to write; by default one in the run, named as --to.")]
Quantize = Annotated[str | None, option("--quantize", "WORD", "int8, for --to onnx.")]
Name = Annotated[str | None, option("--name", "WORD", "Name of the service and its model; by default that of the run.")]
Image = Annotated[str | None, option("--image", "REFERENCE", "Name of the image, with a tag; by default NAME:VERSION-HASH.")]
Replicas = Annotated[int, number("--replicas", "Minimum number of pods.", least=1, most=100)]


@shared_options("offline")
def command(
    *,
    model: Model,
    to: To,
    out: Out = None,
    quantize: Quantize = None,
    name: Name = None,
    image: Image = None,
    replicas: Replicas = 2,
    shared: Shared,
) -> None:
    """Write the folder from which a service is built: a Dockerfile with its context, and Kubernetes manifests.

    The folder contains the model and hftool itself: building needs only a package index, running no network. It contains no
    API key: its README.md shows how to create one, and how to build, run and try the service.

    \b
    hftool deploy runs/a --to docker --out image
    hftool deploy runs/a --to kubernetes --image registry.example.org/team/reviews:1 --out cluster
    """
    go_offline(shared.offline)
    from hftool import workflow

    with shared.screen() as progress:
        deployment = workflow.deploy(
            model,
            to=to,
            out=out,
            quantize=quantize,
            name=name,
            image=image,
            replicas=replicas,
            offline=shared.offline,
            progress=progress,
        )
    if shared.as_json:
        print_json({"path": str(deployment.path), "to": deployment.to, "name": deployment.name, "image": deployment.image})
        return
    typer.echo(f"written     {deployment.path}")
    if to == "onnx":
        typer.echo(f"next        {next_command(deployment.path, read_facts(deployment.path))}")
        return
    typer.echo(f"next        docker build -t {deployment.image} {shlex.quote(str(deployment.path))}")
    typer.echo(f"then        {deployment.path / 'README.md'} shows how to run and try it")
