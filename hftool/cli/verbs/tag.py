"""The command `hftool tag`."""

import typer

from hftool.cli.inference_command import Common, ask, inference_options, wants_help
from hftool.cli.options import Texts

NAME = "tag"


@inference_options
def command(context: typer.Context, *, texts: Texts = None, common: Common) -> None:
    """Find entities in texts, with type, probability and character offsets.

    \b
    hftool tag runs/a "Amina Okafor flew to Lisbon."
    """
    if not wants_help(context, texts, common):
        ask(texts, common, head=NAME)
