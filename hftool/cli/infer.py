"""hftool infer"""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.asking import Answer, Common, ask, asks, wants_help
from hftool.cli.lines import LINES
from hftool.cli.options import Texts
from hftool.errors import UsageError

NAME = "infer"
VERBS = {"text2text": "write", "classify": "classify", "generate": "generate"}
Pair = Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text, or the context of a question.")]


@asks
def command(context: typer.Context, *, texts: Texts = None, pair: Pair = None, common: Common) -> None:
    """What the model is naturally for; says what it chose.

    \b
    hftool infer bert "The [MASK] opened the door."
    """
    if wants_help(context, texts, common):
        return
    if pair is not None and len(texts or []) != 1:
        raise UsageError("--pair takes one TEXT beside it", "For many pairs: --file FILE --column ROLE=NAME")
    ask(texts, common, head=None, answer=partial(_answer, pair), line=_line, document=_plain)


def _answer(pair: str | None, loaded: Any, texts: list[str]) -> list[Answer]:
    from hftool import workflow

    typer.echo(f"this model is to {VERBS.get(loaded.card.head, loaded.card.head)} ({loaded.card.head})", err=True)
    return workflow.infer(loaded, texts, pairs=[pair] if pair is not None else None)


def _line(text: str, answer: Answer | None, loaded: Any) -> str:
    return LINES[loaded.card.head](text, answer, loaded)


def _plain(answer: Answer) -> Answer:
    """Without arrays, which JSON does not have."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}
