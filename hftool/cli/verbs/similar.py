"""hftool similar"""

from typing import Annotated

import typer

from hftool.cli.inference_command import notify_truncated
from hftool.cli.options import Device, Json, Model, NoFallback, Offline, Quiet, Verbose, go_offline
from hftool.cli.progress import print_json, screen
from hftool.cli.verbs.embed import Pooling, check_pooling

NAME = "similar"
First = Annotated[str, typer.Argument(metavar="A", help="A text.")]
Second = Annotated[str, typer.Argument(metavar="B", help="Another.")]


def command(
    model: Model,
    first: First,
    second: Second,
    pooling: Pooling = None,
    device: Device = "auto",
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """How alike two texts are: the cosine of their vectors, -1 to 1.

    \b
    hftool similar minilm "A man rides a horse." "Somebody is on a horse."
    """
    check_pooling(pooling)
    go_offline(offline)
    from hftool import workflow

    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        loaded = workflow.load(model, head="embed", device=device, offline=offline, fallback=not no_fallback, progress=progress)
        answers = workflow.vectors(loaded, [first], pairs=[second], pooling=pooling)
        notify_truncated(answers, loaded, progress)
        cosine = float(answers[0]["similarity"])
    if as_json:
        print_json({"similarity": cosine, "stand_in": dict(loaded.head_config.stand_in)})
    else:
        typer.echo(f"{cosine:.4f}")
