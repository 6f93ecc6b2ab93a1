"""hftool translate"""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, generation_options, inference_options, wants_help
from hftool.cli.options import Texts

NAME = "translate"
To = Annotated[str | None, typer.Option("--to", metavar="CODE", help="Target language: de, fr, ro, ...")]
From = Annotated[str, typer.Option("--from", metavar="CODE", help="Source language.")]


@inference_options
@generation_options
def command(
    context: typer.Context,
    *,
    texts: Texts = None,
    to: To = None,
    source: From = "en",
    sampling: dict[str, Any],
    common: Common,
) -> None:
    """Translate texts.

    \b
    hftool translate t5 --to de "The house is wonderful."
    """
    if wants_help(context, texts, common):
        return
    ask(
        texts,
        common,
        head="text2text",
        answer=partial(_answer, sampling),
        options={"sampling": sampling} if sampling else None,
        adapt=partial(_adapt, to, source),
    )


def _adapt(to: str | None, source: str, loaded: Any) -> Any:
    from hftool import workflow

    return workflow.as_translator(loaded, to=to, source=source)


def _answer(sampling: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    """The model has its prefix already."""
    from hftool import workflow

    return workflow.write(loaded, texts, sampling=sampling or None)
