"""The command `hftool fill`."""

from typing import Annotated

import typer

from hftool.cli.inference_command import Common, ask, inference_options, wants_help
from hftool.cli.options import Texts, number

NAME = "fill"
TopK = Annotated[int, number("--top-k", "The K most probable tokens for each mask.", least=1, metavar="K")]


@inference_options
def command(context: typer.Context, *, texts: Texts = None, top_k: TopK = 5, common: Common) -> None:
    """Fill [MASK] in texts with the most probable tokens.

    \b
    hftool fill bert "The [MASK] opened the door." --top-k 3
    """
    if not wants_help(context, texts, common):
        ask(texts, common, head=NAME, options={"top_k": top_k})
