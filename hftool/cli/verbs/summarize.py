"""hftool summarize"""

from functools import partial
from typing import Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, generation_options, inference_options, wants_help
from hftool.cli.options import Texts

NAME = "summarize"


@inference_options
@generation_options
def command(context: typer.Context, *, texts: Texts = None, sampling: dict[str, Any], common: Common) -> None:
    """Summarize texts; in a pipe, each line is a text.

    \b
    hftool summarize t5 --beams 4 "A long text, all of it in one line or one argument."
    """
    if wants_help(context, texts, common):
        return
    options = {"sampling": sampling} if sampling else None
    ask(
        texts,
        common,
        head="text2text",
        answer=partial(_answer, sampling),
        options=options,
        adapt=_adapt,
    )


def _adapt(loaded: Any) -> Any:
    from hftool import workflow

    return workflow.as_summarizer(loaded)


def _answer(sampling: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    """The model has its prefix already."""
    from hftool import workflow

    return workflow.write(loaded, texts, sampling=sampling or None)
