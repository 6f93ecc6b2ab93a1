"""hftool infer"""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, inference_options, wants_help
from hftool.cli.options import Texts
from hftool.cli.render import LINES
from hftool.errors import UsageError

NAME = "infer"
VERBS = {"text2text": "write a text for a text", "generate": "write on"}  # for the others the head is a verb
Pair = Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text, or the context of a question.")]


@inference_options
def command(context: typer.Context, *, texts: Texts = None, pair: Pair = None, common: Common) -> None:
    """Answer with whatever head the model has, and name it.

    \b
    hftool infer bert "The [MASK] opened the door."
    """
    if wants_help(context, texts, common):
        return
    if pair is not None and len(texts or []) != 1:
        raise UsageError("--pair takes one TEXT", "For many pairs: --file FILE --column ROLE=NAME")
    answer = partial(_answer, pair, quiet=common.quiet)
    adapt = partial(_say, quiet=common.quiet or common.file is None)
    ask(texts, common, head=None, answer=answer, line=_line, adapt=adapt, document=_plain)


def _answer(pair: str | None, loaded: Any, texts: list[str], *, quiet: bool) -> list[Answer]:
    from hftool import workflow

    if loaded.head_config.head == "answer" and pair is None:
        raise UsageError("a question needs a context to be answered from", "Give it with --pair TEXT")
    made = workflow.infer(loaded, texts, pairs=[pair] * len(texts) if pair is not None else None)
    _say(loaded, quiet=quiet)  # after the answers: an error is one line
    return made


def _say(loaded: Any, *, quiet: bool) -> Any:
    """Print the head of the model."""
    if not quiet:
        typer.echo(f"this model is to {VERBS.get(loaded.head_config.head, loaded.head_config.head)}", err=True)
    return loaded


def _line(text: str, answer: Answer | None, loaded: Any) -> str:
    return LINES[loaded.head_config.head](text, answer, loaded)


def _plain(answer: Answer) -> Answer:
    """Without arrays, which JSON does not have."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}
