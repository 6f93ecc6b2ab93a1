"""hftool classify"""

import sys
from typing import Annotated, Any

import typer

from hftool.cli.options import (
    Device,
    Json,
    Model,
    NoFallback,
    Offline,
    Quiet,
    Texts,
    Verbose,
    go_offline,
    number,
    on_terminal,
    texts_or_stdin,
)
from hftool.cli.screen import print_json, screen
from hftool.errors import UsageError

NAME = "classify"
SHOWN = 100  # characters of a text behind its answer, on a terminal
Pair = Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text, for a model of text pairs.")]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        parser=number("--top-k", least=1),
        help="The K most probable labels of each text; by default one, with --json all.",
    ),
]


def command(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    pair: Pair = None,
    top_k: TopK = None,
    device: Device = "auto",
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The label of each text, with its probability.

    \b
    hftool classify runs/a "A warm, funny film." "Two hours I will never get back."
    """
    if not texts and on_terminal():
        typer.echo(context.get_help())
        return
    go_offline(offline)
    from hftool import workflow

    given = texts_or_stdin(texts)
    if pair is not None and len(given) != 1:
        raise UsageError("--pair takes one TEXT beside it", "For many pairs: hftool predict MODEL FILE --text A --text-pair B")
    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        loaded = workflow.load(model, device=device, offline=offline, fallback=not no_fallback, progress=progress)
        answers = _answers(workflow, loaded, given, pair)
    if as_json:
        rows = [{"text": text, **_best(answer, top_k)} for text, answer in zip(given, answers, strict=True)]
        print_json({"answers": rows, "stand_in": dict(loaded.card.stand_in)})
        return
    width = max(map(len, loaded.card.labels))
    for text, answer in zip(given, answers, strict=True):
        typer.echo(_line(text, answer, top_k or 1, width))


def _answers(workflow: Any, loaded: Any, texts: list[str], pair: str | None) -> list[dict[str, Any] | None]:
    """An answer for each text, None for an empty line: every input has its line."""
    full = [text for text in texts if text.strip()]
    answers = iter(workflow.infer(loaded, full, pairs=[pair] if pair is not None else None))
    return [next(answers) if text.strip() else None for text in texts]


def _best(answer: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
    """An answer as it stands in the document; an empty text has no label."""
    if answer is None:
        return {"label": None}
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    return answer | {"probabilities": dict(ranked[:top_k]) if top_k else answer["probabilities"]}


def _line(text: str, answer: dict[str, Any] | None, top_k: int, width: int) -> str:
    """label, probability and text: aligned for a person, separated by tabs for a program."""
    if answer is None:
        return "-" if sys.stdout.isatty() else "\t\t"
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top_k]
    if not sys.stdout.isatty():
        return "\t".join(f"{name}\t{chance:.4f}" for name, chance in ranked) + "\t" + " ".join(text.split())
    short = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return "  ".join(f"{name:<{width}} {chance:.4f}" for name, chance in ranked) + "  " + " ".join(short.split())
