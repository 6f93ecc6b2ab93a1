"""The command `hftool answer`."""

from typing import Annotated

import typer

from hftool.cli.inference_command import Common, ask, inference_options
from hftool.cli.options import on_terminal, option
from hftool.errors import UsageError

NAME = "answer"
Question = Annotated[
    list[str] | None, option("--question", "TEXT", "A question; may be repeated. Without any: the lines of stdin.")
]
Context = Annotated[str | None, option("--context", "TEXT", "The text that contains the answer.")]


@inference_options
def command(typed: typer.Context, *, question: Question = None, context: Context = None, common: Common) -> None:
    """Answer questions with a span of a context.

    \b
    hftool answer runs/a --question "Who rang?" --context "At noon Ada rang the bell."
    """
    if not question and common.file is None and on_terminal():
        typer.echo(typed.get_help())
        return
    if common.file is None and context is None:
        raise UsageError("a question needs a context to be answered from", "Give it with --context TEXT")
    if common.file is not None and context is not None:
        raise UsageError("--file brings its own contexts", "Leave --context out")
    ask(question, common, head=NAME, pair=context)
