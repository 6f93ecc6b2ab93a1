"""The command `hftool tokenize`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Model, Shared, Texts, number, on_terminal, option, shared_options, texts_or_stdin
from hftool.cli.progress import print_json

if TYPE_CHECKING:
    from hftool.workflow import Tokens

NAME = "tokenize"
Pair = Annotated[str | None, option("--pair", "TEXT", "The second text of a pair.")]
MaxLength = Annotated[int | None, number("--max-length", "In tokens; by default the model's.", least=2)]


@shared_options("offline", "no_fallback")
def command(
    *,
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    pair: Pair = None,
    max_length: MaxLength = None,
    shared: Shared,
) -> None:
    """Tokenize texts as the model's own head does in inference.

    Tokens, ids, attention mask and truncated tokens; then the further windows of a text that is longer than the model.

    \b
    hftool tokenize minilm "Unbelievably good."
    """
    if not texts and on_terminal():
        typer.echo(context.get_help())
        return
    go_offline(shared.offline)
    from hftool import workflow

    given = texts_or_stdin(texts)
    with shared.screen() as progress:
        tokenized = workflow.tokenize(
            model, given, pairs=[pair] if pair is not None else None, max_length=max_length, **shared.access(progress)
        )
    if shared.as_json:
        rows = [{"text": text, **_document(tokens)} for text, tokens in zip(given, tokenized, strict=True)]
        print_json(rows)
        return
    for tokens in tokenized:
        typer.echo(f"tokens  {' '.join(tokens.tokens)}")
        typer.echo(f"ids     {' '.join(map(str, tokens.ids))}")
        typer.echo(f"mask    {' '.join(map(str, tokens.mask))}")
        truncated = f"{' '.join(tokens.truncated)} ({len(tokens.truncated)} tokens)" if tokens.truncated else "nothing"
        typer.echo(f"cut     {truncated}")
        for window in tokens.windows:
            typer.echo(f"window  {' '.join(window)}")


def _document(tokens: "Tokens") -> dict[str, Any]:
    """The keys of `--json`, where the truncated tokens are "cut"."""
    return {"cut" if name == "truncated" else name: value for name, value in asdict(tokens).items()}
