"""hftool generate"""

from functools import partial
from typing import Any

import typer

from hftool.cli.asking import Answer, Common, ask, asks, check_of_file, writes
from hftool.cli.lines import one
from hftool.cli.options import Texts, go_offline, on_terminal, texts_or_stdin
from hftool.cli.screen import screen

NAME = "generate"
USUAL = {"temperature": 0.8, "top_p": 0.95}  # a small model that always takes the likeliest token says one thing over and over


@asks
@writes
def command(context: typer.Context, *, texts: Texts = None, decoding: dict[str, Any], common: Common) -> None:
    """What the model writes after each text, as it is written.

    Without a text, on a terminal: one sample from the end-of-text token. It draws at temperature 0.8 and top-p 0.95
    from seed 0 unless told otherwise; at temperature 0 it takes the most probable tokens.

    \b
    hftool generate gpt2 "Once upon a time" --max-new-tokens 50
    """
    drawing = decoding.get("beams", 1) == 1 and decoding.get("temperature", 1) > 0
    decoding = {**(USUAL if drawing else {}), **decoding}
    if texts is None and common.file is None:
        texts = [""] if on_terminal() else texts_or_stdin(texts, otherwise=[""])
    is_one = texts is not None and len(texts) == 1 and decoding.get("samples", 1) == decoding.get("beams", 1) == 1
    if is_one and texts is not None and not common.as_json and common.file is common.out is None:
        check_of_file(common)
        _stream(texts[0], decoding, common)
    else:
        answer = partial(_answer, decoding)
        ask(texts, common, head=NAME, answer=answer, line=_line, options={"decoding": decoding}, blanks=True)


def _line(prompt: str, answer: Answer | None, _loaded: Any) -> str:
    """The prompt and what follows it, a line for each sample."""
    assert answer is not None  # an empty prompt is answered, too
    return "\n".join(one(prompt + text) for text in answer.get("samples", [answer["text"]]))


def _stream(prompt: str, decoding: dict[str, Any], common: Common) -> None:
    """The prompt, then each piece as it comes."""
    go_offline(common.offline)
    from hftool import workflow

    with screen(quiet=common.quiet, verbose=common.verbose) as progress:
        loaded = common.load(NAME, progress)
    pieces = [prompt]  # shown with the first piece: what cannot be gone on with is an error and no text

    def show(text: str) -> None:
        """Print a piece, and with the first of them what stands before it."""
        typer.echo("".join((*pieces, text)), nl=False)
        pieces.clear()

    workflow.generate(loaded, [prompt], decoding=decoding, on_text=show)
    show("\n")


def _answer(decoding: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    from hftool import workflow

    return workflow.generate(loaded, texts, decoding=decoding)
