"""hftool translate"""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.asking import Answer, Common, ask, asks, wants_help, writes
from hftool.cli.lines import text_line
from hftool.cli.options import Texts

NAME = "translate"
To = Annotated[str | None, typer.Option("--to", metavar="CODE", help="Into this language: de, fr, ro, ...")]
From = Annotated[str, typer.Option("--from", metavar="CODE", help="Out of this language.")]


@asks
@writes
def command(
    context: typer.Context,
    *,
    texts: Texts = None,
    to: To = None,
    source: From = "en",
    decoding: dict[str, Any],
    common: Common,
) -> None:
    """Each text in another language.

    \b
    hftool translate t5 --to de "The house is wonderful."
    """
    if wants_help(context, texts, common):
        return
    ask(
        texts,
        common,
        head="text2text",
        answer=partial(_answer, decoding),
        line=text_line,
        options={"decoding": decoding} if decoding else None,
        adapt=partial(_adapt, to, source),
    )


def _adapt(to: str | None, source: str, loaded: Any) -> Any:
    from hftool import workflow

    return workflow.as_translator(loaded, to=to, source=source)


def _answer(decoding: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    """The model has been told the languages: it goes on as it is."""
    from hftool import workflow

    return workflow.write(loaded, texts, decoding=decoding or None)
