"""hftool classify"""

import json
import sys
from typing import Annotated, Any

import typer

from hftool.cli.options import Device, Json, Model, NoFallback, Offline, Quiet, Verbose, go_offline
from hftool.cli.screen import screen
from hftool.errors import UsageError

NAME = "classify"
SHOWN = 100  # characters of a text behind its answer, on a terminal
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="[TEXT...]", help="Texts; without any, the lines of stdin.", show_default=False)
]
Pair = Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text, for a model of text pairs.")]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="The K most probable labels of each text.")]


def command(
    context: typer.Context,
    model: Model,
    texts: Texts = None,
    pair: Pair = None,
    top_k: TopK = 1,
    device: Device = "auto",
    offline: Offline = False,
    no_fallback: NoFallback = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The label of each text, with its probability.

    hftool classify runs/a "A warm, funny film." "Two hours I will never get back."
    """
    if not texts and sys.stdin.isatty():
        typer.echo(context.get_help())
        return
    go_offline(offline)
    from hftool import workflow

    given = list(texts) if texts else workflow.read_lines(sys.stdin)
    if pair is not None and len(given) != 1:
        raise UsageError("--pair takes one TEXT beside it", "For many pairs: hftool predict MODEL FILE --text A --text-pair B")
    with screen(quiet=quiet, verbose=verbose, as_json=as_json) as progress:
        loaded = workflow.load(model, device=device, offline=offline, fallback=not no_fallback, progress=progress)
        answers = _answers(workflow, loaded, given, pair)
    if as_json:
        rows = [{"text": text, **(answer or {"label": None})} for text, answer in zip(given, answers, strict=True)]
        typer.echo(json.dumps({"answers": rows, "stand_in": dict(loaded.card.stand_in)}, ensure_ascii=False))
        return
    width = max(map(len, loaded.card.labels))
    for text, answer in zip(given, answers, strict=True):
        typer.echo(_line(text, answer, top_k, width))


def _answers(workflow: Any, loaded: Any, texts: list[str], pair: str | None) -> list[dict[str, Any] | None]:
    """An answer for each text, None for an empty line: every input has its line."""
    full = [text for text in texts if text.strip()]
    answers = iter(workflow.infer(loaded, full, pairs=[pair] if pair is not None else None))
    return [next(answers) if text.strip() else None for text in texts]


def _line(text: str, answer: dict[str, Any] | None, top_k: int, width: int) -> str:
    """label, probability and text: aligned for a person, separated by tabs for a program."""
    if answer is None:
        return "-" if sys.stdout.isatty() else "\t\t"
    ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top_k]
    if not sys.stdout.isatty():
        return "\t".join(f"{name}\t{chance:.4f}" for name, chance in ranked) + "\t" + " ".join(text.split())
    short = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return "  ".join(f"{name:<{width}} {chance:.4f}" for name, chance in ranked) + "  " + " ".join(short.split())
