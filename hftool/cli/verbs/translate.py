"""The command `hftool translate`."""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.inference_command import Common, ask, generation_options, inference_options, wants_help
from hftool.cli.options import Texts, option

NAME = "translate"
To = Annotated[str | None, option("--to", "CODE", "Target language: de, fr, ro, ...")]
From = Annotated[str, option("--from", "CODE", "Source language.")]


@inference_options
@generation_options
def command(
    context: typer.Context, *, texts: Texts = None, to: To = None, source: From = "en", sampling: dict[str, Any], common: Common
) -> None:
    """Translate texts.

    \b
    hftool translate t5 --to de "The house is wonderful."
    """
    if not wants_help(context, texts, common):
        options = {"sampling": sampling} if sampling else None
        ask(texts, common, head="text2text", options=options, adapt=partial(_adapt, to, source))


def _adapt(to: str | None, source: str, loaded: Any) -> Any:
    from hftool.workflow._infer import as_translator

    return as_translator(loaded, to=to, source=source)
