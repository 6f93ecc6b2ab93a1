"""The command `hftool infer`."""

from typing import Annotated

import typer

from hftool.cli.inference_command import Common, ask, inference_options, wants_help
from hftool.cli.options import Texts, option
from hftool.errors import UsageError

NAME = "infer"
Pair = Annotated[str | None, option("--pair", "TEXT", "The second text, or the context of a question.")]


@inference_options
def command(context: typer.Context, *, texts: Texts = None, pair: Pair = None, common: Common) -> None:
    """Answer with whatever head the model has, and name it.

    \b
    hftool infer bert "The [MASK] opened the door."
    """
    if wants_help(context, texts, common):
        return
    if pair is not None and len(texts or []) != 1:
        raise UsageError("--pair takes one TEXT", "For many pairs: --file FILE --column ROLE=NAME")
    ask(texts, common, head=None, pair=pair)
