"""The command `hftool info`."""

from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Model, Shared, number, shared_options
from hftool.cli.progress import print_json
from hftool.errors import as_line

NAME = "info"
FACTS = (
    *("model", "stand_in", "base", "revision", "folder", "task", "head", "labels"),
    *("architecture", "family", "layers", "hidden_size", "attention_heads", "vocabulary"),
)
BatchSize = Annotated[int, number("--batch-size", "Rows of a batch, for the memory.", least=1)]
Length = Annotated[int, number("--length", "Tokens of a row, for the memory.", least=1)]


@shared_options("offline", "no_fallback")
def command(*, model: Model, batch_size: BatchSize = 32, length: Length = 128, shared: Shared) -> None:
    """Describe a model without loading its weights.

    Architecture, layers, parameters by part, bytes, and the memory to infer and to train.

    \b
    hftool info minilm --batch-size 64
    """
    go_offline(shared.offline)
    from hftool import workflow

    with shared.screen() as progress:
        facts = workflow.info(model, batch_size=batch_size, length=length, **shared.access(progress))
    if shared.as_json:
        print_json(facts)
        return
    _show(facts)


def _show(facts: dict[str, Any]) -> None:
    for key in FACTS:
        if facts.get(key):
            typer.echo(f"{key.replace('_', ' '):<18}{_words(facts[key])}")
    typer.echo(f"{'parameters':<18}{facts['parameters']:,}")
    for part, count in facts["parameters_by_part"].items():
        typer.echo(f"  {part:<16}{count:,}")
    typer.echo(f"{'on disk':<18}{_size(facts['bytes_on_disk'])}")
    typer.echo(f"{'weights in fp32':<18}{_size(facts['bytes_in_memory'])}")
    typer.echo(f"for {facts['batch_size']} rows of {facts['length']} tokens, estimated:")
    typer.echo(f"{'  to infer':<18}{_size(facts['memory_to_infer'])}")
    if facts["memory_to_train"]:
        typer.echo(f"{'  to train':<18}{_size(facts['memory_to_train'])} (AdamW)")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return as_line(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
