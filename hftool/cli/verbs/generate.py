"""hftool generate"""

from functools import partial
from typing import Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, check_of_file, generation_options, inference_options
from hftool.cli.options import Texts, go_offline, on_terminal, texts_or_stdin
from hftool.cli.progress import screen
from hftool.cli.render import one

NAME = "generate"
USUAL = {"temperature": 0.8, "top_p": 0.95}  # a small model that always takes the likeliest token says one thing over and over


@inference_options
@generation_options
def command(context: typer.Context, *, texts: Texts = None, sampling: dict[str, Any], common: Common) -> None:
    """What the model writes after each text, as it is written.

    Without a text, on a terminal: one sample from the end-of-text token. It draws at temperature 0.8 and top-p 0.95
    from seed 0 unless told otherwise; at temperature 0 it takes the most probable tokens.

    \b
    hftool generate gpt2 "Once upon a time" --max-new-tokens 50
    """
    drawing = sampling.get("num_beams", 1) == 1 and sampling.get("temperature", 1) > 0
    sampling = {**(USUAL if drawing else {}), **sampling}
    if texts is None and common.file is None:
        texts = [""] if on_terminal() else texts_or_stdin(texts, otherwise=[""])
    is_one = (
        texts is not None and len(texts) == 1 and sampling.get("num_return_sequences", 1) == sampling.get("num_beams", 1) == 1
    )
    if is_one and texts is not None and not common.as_json and common.file is common.out is None:
        check_of_file(common)
        _stream(texts[0], sampling, common)
    else:
        answer = partial(_answer, sampling)
        ask(texts, common, head=NAME, answer=answer, line=_line, options={"sampling": sampling}, blanks=True)


def _line(prompt: str, answer: Answer | None, _loaded: Any) -> str:
    """The prompt and what follows it, a line for each sample."""
    assert answer is not None  # an empty prompt is answered, too
    return "\n".join(one(prompt + text) for text in answer.get("samples", [answer["text"]]))


def _stream(prompt: str, sampling: dict[str, Any], common: Common) -> None:
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

    workflow.generate(loaded, [prompt], sampling=sampling, on_text=show)
    show("\n")


def _answer(sampling: dict[str, Any], loaded: Any, texts: list[str]) -> list[Answer]:
    from hftool import workflow

    return workflow.generate(loaded, texts, sampling=sampling)
