"""The command `hftool summarize`."""

from typing import Any

import typer

from hftool.cli.inference_command import Common, ask, generation_options, inference_options, wants_help
from hftool.cli.options import Texts

NAME = "summarize"


@inference_options
@generation_options
def command(context: typer.Context, *, texts: Texts = None, sampling: dict[str, Any], common: Common) -> None:
    """Summarize texts; in a pipe, each line is a text.

    \b
    hftool summarize t5 --beams 4 "A long text, all of it in one line or one argument."
    """
    if not wants_help(context, texts, common):
        ask(texts, common, head="text2text", options={"sampling": sampling} if sampling else None, adapt=_adapt)


def _adapt(loaded: Any) -> Any:
    from hftool.workflow._infer import as_summarizer

    return as_summarizer(loaded)
