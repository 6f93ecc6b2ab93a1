"""hftool summarize"""

from functools import partial
from typing import Any

import typer

from hftool.cli.asking import Answer, Common, ask, asks, wants_help, writes
from hftool.cli.lines import text_line
from hftool.cli.options import Texts

NAME = "summarize"


@asks
@writes
def command(context: typer.Context, *, texts: Texts = None, decoding: dict[str, Any], common: Common) -> None:
    """A summary of each text. From a pipe, each line is a text.

    \b
    hftool summarize t5 --beams 4 "A long text, all of it in one line or one argument."
    """
    if wants_help(context, texts, common):
        return
    options = {"decoding": decoding} if decoding else None
    ask(
        texts,
        common,
        head="text2text",
        answer=partial(_answer, decoding),
        line=text_line,
        options=options,
        adapt=_adapt,
    )


def _adapt(loaded: Any) -> Any:
    from hftool import workflow

    return workflow.as_summarizer(loaded)


def _answer(decoding: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    """The model has been told to summarize: it goes on as it is."""
    from hftool import workflow

    return workflow.write(loaded, texts, decoding=decoding or None)
