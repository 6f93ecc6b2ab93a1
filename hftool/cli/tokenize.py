"""hftool tokenize"""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from hftool.cli.options import Json, Model, NoFallback, Offline, Quiet, Verbose, go_offline
from hftool.cli.screen import screen

NAME = "tokenize"
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="[TEXT...]", help="Texts; without any, the lines of stdin.", show_default=False)
]
MaxLength = Annotated[int | None, typer.Option("--max-length", min=2, help="In tokens; by default the model's.")]


def command(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    max_length: MaxLength = None,
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """What the model sees of each text: tokens, ids, mask, and what was cut.

    hftool tokenize minilm "Unbelievably good."
    """
    if not texts and sys.stdin.isatty():
        typer.echo(context.get_help())
        return
    go_offline(offline)
    from hftool import workflow

    given = list(texts) if texts else workflow.read_lines(sys.stdin)
    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        made = workflow.tokenize(
            model, given, max_length=max_length, offline=offline, fallback=not no_fallback, progress=progress
        )
    if as_json:
        rows = [{"text": text, **asdict(tokens)} for text, tokens in zip(given, made, strict=True)]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for tokens in made:
        typer.echo(f"tokens  {' '.join(tokens.tokens)}")
        typer.echo(f"ids     {' '.join(map(str, tokens.ids))}")
        typer.echo(f"mask    {' '.join(map(str, tokens.mask))}")
        typer.echo(f"cut     {' '.join(tokens.cut)} ({len(tokens.cut)} tokens)" if tokens.cut else "cut     nothing")
