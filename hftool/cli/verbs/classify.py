"""The command `hftool classify`."""

from functools import partial
from typing import Annotated

import typer

from hftool.cli.inference_command import Answer, Common, ask, inference_options, wants_help
from hftool.cli.options import Texts, number, option
from hftool.cli.render import answer_line
from hftool.errors import UsageError

NAME = "classify"
Pair = Annotated[str | None, option("--pair", "TEXT", "The second text, for a model of text pairs.")]
TopK = Annotated[
    int | None,
    number(
        "--top-k",
        "The K most probable labels of each text; by default one, or those over their threshold; with --json all.",
        least=1,
        metavar="K",
    ),
]


@inference_options
def command(context: typer.Context, *, texts: Texts = None, pair: Pair = None, top_k: TopK = None, common: Common) -> None:
    """Label texts, with probabilities.

    \b
    hftool classify runs/a "A warm, funny film." "Two hours I will never get back."
    """
    if wants_help(context, texts, common):
        return
    if pair is not None and len(texts or []) != 1:
        raise UsageError("--pair takes one TEXT", "For many pairs: --file FILE --column text=A --column text_pair=B")
    ask(
        texts,
        common,
        head=NAME,
        pair=pair,
        line=partial(answer_line, top_k=top_k or 0),
        top_k=top_k,
        document=partial(_best, top_k),
    )


def _best(top_k: int | None, answer: Answer) -> Answer:
    """An answer in --json: its labels ranked, the K best of them."""
    if "probabilities" not in answer:
        return answer
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    return answer | {"probabilities": dict(ranked[:top_k]) if top_k else answer["probabilities"]}
