"""hftool infer"""

from functools import partial
from typing import Annotated, Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, inference_options, wants_help
from hftool.cli.options import Texts
from hftool.errors import UsageError
from hftool.registry.heads import head_spec

NAME = "infer"
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
    ask(texts, common, head=None, answer=answer, adapt=adapt, document=_plain)


def _answer(pair: str | None, loaded: Any, texts: list[str], *, quiet: bool) -> list[Answer]:
    from hftool import workflow

    spec = head_spec(loaded.head_config.head)
    if spec.second_input == "always" and pair is None:
        raise UsageError("a {} needs a {} to be answered from".format(*spec.inputs), "Give it with --pair TEXT")
    made = workflow.infer(loaded, texts, pairs=[pair] * len(texts) if pair is not None else None)
    _say(loaded, quiet=quiet)  # after the answers: an error is one line
    return made


def _say(loaded: Any, *, quiet: bool) -> Any:
    """Print the head of the model."""
    if not quiet:
        spec = head_spec(loaded.head_config.head)
        typer.echo(f"this model is to {spec.purpose or spec.name}", err=True)
    return loaded


def _plain(answer: Answer) -> Answer:
    """Without arrays, which JSON does not have."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}
