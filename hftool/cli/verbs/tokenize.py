"""hftool tokenize"""

from dataclasses import asdict
from typing import Annotated

import typer

from hftool.cli.options import (
    Json,
    Model,
    NoFallback,
    Offline,
    Quiet,
    Texts,
    Verbose,
    go_offline,
    number,
    on_terminal,
    texts_or_stdin,
)
from hftool.cli.progress import print_json, screen

NAME = "tokenize"
Pair = Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text of a pair.")]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length", metavar="N", parser=number("--max-length", least=2), help="In tokens; by default the model's."
    ),
]


def command(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    pair: Pair = None,
    max_length: MaxLength = None,
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """What the model sees of each text, and what was cut.

    Tokens, ids and mask, as in training and inference.

    \b
    hftool tokenize minilm "Unbelievably good."
    """
    if not texts and on_terminal():
        typer.echo(context.get_help())
        return
    go_offline(offline)
    from hftool import workflow

    given = texts_or_stdin(texts)
    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        made = workflow.tokenize(
            model,
            given,
            pairs=[pair] if pair is not None else None,
            max_length=max_length,
            offline=offline,
            fallback=not no_fallback,
            progress=progress,
        )
    if as_json:
        rows = [{"text": text, **asdict(tokens)} for text, tokens in zip(given, made, strict=True)]
        print_json(rows)
        return
    for tokens in made:
        typer.echo(f"tokens  {' '.join(tokens.tokens)}")
        typer.echo(f"ids     {' '.join(map(str, tokens.ids))}")
        typer.echo(f"mask    {' '.join(map(str, tokens.mask))}")
        typer.echo(f"cut     {' '.join(tokens.cut)} ({len(tokens.cut)} tokens)" if tokens.cut else "cut     nothing")
