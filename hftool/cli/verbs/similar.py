"""The command `hftool similar`."""

from typing import Annotated

import typer

from hftool.cli.inference_command import notify_truncated
from hftool.cli.offline import go_offline
from hftool.cli.options import Device, Model, Precision, Shared, argument, shared_options
from hftool.cli.progress import print_json
from hftool.cli.verbs.embed import Pooling

NAME = "similar"
First = Annotated[str, argument("A", "A text.")]
Second = Annotated[str, argument("B", "The other text.")]


@shared_options("offline", "no_fallback")
def command(
    *,
    model: Model,
    first: First,
    second: Second,
    pooling: Pooling = None,
    device: Device = "auto",
    precision: Precision = "auto",
    shared: Shared,
) -> None:
    """The similarity of two texts: the cosine of their vectors, -1 to 1.

    \b
    hftool similar minilm "A man rides a horse." "Somebody is on a horse."
    """
    go_offline(shared.offline)
    from hftool import workflow
    from hftool.workflow._infer import vectors

    with shared.screen() as progress:
        loaded = workflow.load(model, head="embed", device=device, precision=precision, **shared.access(progress))
        answers = vectors(loaded, [first], pairs=[second], pooling=pooling)
        notify_truncated(answers, loaded, progress)
        cosine = float(answers[0]["similarity"])
    if shared.as_json:
        print_json({"similarity": cosine, "stand_in": loaded.head_config.stand_in_texts})
    else:
        typer.echo(f"{cosine:.4f}")
