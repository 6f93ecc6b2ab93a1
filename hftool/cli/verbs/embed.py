"""The command `hftool embed`."""

from typing import Annotated

import typer

from hftool.cli.inference_command import Answer, Common, ask, check_of_file, inference_options, notify_truncated, wants_help
from hftool.cli.offline import go_offline
from hftool.cli.options import Texts, choice, texts_or_stdin
from hftool.cli.progress import print_json, screen
from hftool.registry.heads import POOLINGS

NAME = "embed"
Pooling = Annotated[
    str | None, choice("--pooling", "mean, cls or max over the tokens; by default as the model was trained.", POOLINGS)
]


@inference_options
def command(context: typer.Context, *, texts: Texts = None, pooling: Pooling = None, common: Common) -> None:
    """Embed texts as vectors.

    With --out x.npy the vectors of all texts are one float32 array, one row for each text, NaN where it is empty.

    \b
    hftool embed minilm "A warm, funny film." "A cold one." --out films.npy
    """
    if wants_help(context, texts, common):
        return
    if common.out is not None and common.file is None:
        _save(texts, pooling, common)
        return
    ask(texts, common, head=NAME, options={"pooling": pooling} if pooling is not None else None)


def _save(texts: list[str] | None, pooling: str | None, common: Common) -> None:
    """Write the vectors of texts, or of the lines of stdin, as one array."""
    check_of_file(common)
    go_offline(common.offline)
    import numpy as np

    from hftool.data.schema import is_blank
    from hftool.workflow._infer import check_vectors, save_vectors, vectors

    given = texts_or_stdin(texts)
    with screen(quiet=common.quiet, verbose=common.verbose, as_json=common.as_json) as progress:
        check_vectors(common.out or "")
        loaded = common.load(NAME, progress)
        embedded = iter(vectors(loaded, [text for text in given if not is_blank(text)], pooling=pooling))
        width = loaded.model.config.hidden_size
        nothing: Answer = {"embedding": np.full(width, np.nan)}
        answers = [nothing if is_blank(text) else next(embedded) for text in given]
        save_vectors(common.out or "", [answer["embedding"] for answer in answers])
        notify_truncated(answers, loaded, progress)
    if common.as_json:
        print_json({"out": common.out, "rows": len(given), "stand_in": loaded.head_config.stand_in_texts})
    else:
        typer.echo(f"{len(given)} vectors of {width} numbers in {common.out}")
