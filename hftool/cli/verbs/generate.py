"""The command `hftool generate`."""

from typing import Any

import typer

from hftool.cli.inference_command import Answer, Common, ask, check_of_file, generation_options, inference_options
from hftool.cli.offline import go_offline
from hftool.cli.options import Texts, on_terminal, texts_or_stdin
from hftool.cli.progress import screen

NAME = "generate"
USUAL = {"temperature": 0.8, "top_p": 0.95}  # a small model repeats itself without sampling


@inference_options
@generation_options
def command(context: typer.Context, *, texts: Texts = None, sampling: dict[str, Any], common: Common) -> None:
    """Continue texts; a single one is streamed as it is generated.

    By default it samples at temperature 0.8 and top-p 0.95 with seed 0; temperature 0 takes the most probable tokens. Without a
    text, on a terminal, it starts from the end-of-text token.

    \b
    hftool generate gpt2 "Once upon a time" --max-new-tokens 50
    """
    samples = sampling.get("num_beams", 1) == 1 and sampling.get("temperature", 1) > 0
    sampling = {**(USUAL if samples else {}), **sampling}
    if texts is None and common.file is None:
        texts = [""] if on_terminal() else texts_or_stdin(texts, otherwise=[""])
    is_one = (
        texts is not None and len(texts) == 1 and sampling.get("num_return_sequences", 1) == sampling.get("num_beams", 1) == 1
    )
    if is_one and texts is not None and not common.as_json and common.file is common.out is None:
        check_of_file(common)
        _stream(texts[0], sampling, common)
    else:
        ask(texts, common, head=NAME, line=_line, options={"sampling": sampling}, blanks=True)


def _line(prompt: str, answer: Answer | None, _loaded: Any) -> str:
    """The prompt with its continuation, one line for each."""
    assert answer is not None  # an empty prompt is answered, too
    return "\n".join(" ".join((prompt + text).split()) for text in answer.get("samples", [answer["text"]]))


def _stream(prompt: str, sampling: dict[str, Any], common: Common) -> None:
    """Print the prompt, then each piece as it is generated."""
    go_offline(common.offline)
    from hftool import workflow

    with screen(quiet=common.quiet, verbose=common.verbose) as progress:
        loaded = common.load(NAME, progress)
    pieces = [prompt]  # printed with the first piece: an error then comes without a text

    def show(text: str) -> None:
        """Print a piece, the first one after the prompt."""
        typer.echo("".join((*pieces, text)), nl=False)
        pieces.clear()

    workflow.generate(loaded, [prompt], sampling=sampling, on_text=show)
    show("\n")
