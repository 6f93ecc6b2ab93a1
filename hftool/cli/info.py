"""hftool info"""

import json
from typing import Annotated

import typer

from hftool.cli.options import Json, Model, NoFallback, Offline, Quiet, Verbose, go_offline
from hftool.cli.screen import screen

NAME = "info"
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="For the memory.")]
Length = Annotated[int, typer.Option("--length", min=1, help="Tokens of a row, for the memory.")]


def command(
    model: Model,
    batch_size: BatchSize = 32,
    length: Length = 128,
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """What a model is and needs: architecture, layers, parameters by part, bytes, memory. Loads no weights.

    hftool info minilm --batch-size 64
    """
    go_offline(offline)
    from hftool import workflow

    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        facts = workflow.info(
            model, batch_size=batch_size, length=length, offline=offline, fallback=not no_fallback, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for key in (
        "model",
        "stand_in",
        "base",
        "revision",
        "folder",
        "task",
        "head",
        "labels",
        "architecture",
        "family",
        "layers",
        "hidden_size",
        "attention_heads",
        "vocabulary",
    ):
        if facts.get(key):
            value = facts[key]
            shown = (
                ", ".join(map(str, value)) if isinstance(value, list) else value["model"] if isinstance(value, dict) else value
            )
            typer.echo(f"{key.replace('_', ' '):<18}{shown}")
    typer.echo(f"{'parameters':<18}{facts['parameters']:,}")
    for part, count in facts["parameters_by_part"].items():
        typer.echo(f"  {part:<16}{count:,}")
    typer.echo(f"{'on disk':<18}{_size(facts['bytes_on_disk'])}")
    typer.echo(f"{'weights in fp32':<18}{_size(facts['bytes_in_memory'])}")
    typer.echo(f"for {batch_size} rows of {length} tokens, estimated:")
    typer.echo(f"{'  to infer':<18}{_size(facts['memory_to_infer'])}")
    typer.echo(f"{'  to train':<18}{_size(facts['memory_to_train'])} (AdamW)")


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
