"""The command `hftool bench`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Shared, argument, number, option, shared_options
from hftool.cli.progress import print_json
from hftool.storage.run_folder import check_output, write_json

NAME = "bench"
Kind = Annotated[str, argument("WORK", "train, infer, generate or serve.")]
Model = Annotated[str, argument("MODEL", "A name of `hftool models`, a Hub id, a model or run folder.")]
Against = Annotated[
    str | None,
    option(
        "--against",
        "WORDS",
        "Engines to measure beside hftool, comma separated. train: trainer. infer: pipeline, onnxruntime, inductor, "
        "openvino, ctranslate2. generate: transformers, onnxruntime, ctranslate2, llamacpp. serve: fastapi. "
        "By default the first; none for hftool alone.",
    ),
]
Precisions = Annotated[
    str, option("--precision", "WORDS", "Number formats of hftool, comma separated: auto, fp32, bf16, int8 to generate.")
]
File = Annotated[str | None, option("--file", "FILE", "Rows to measure on; to train, with labels. By default bundled ones.")]
Limit = Annotated[int | None, number("--limit", "The most rows.", least=1)]
BatchSize = Annotated[
    int | None, number("--batch-size", "Rows of a step, prompts of a batch, texts of a peer's batch.", least=1)
]
Tokens = Annotated[int, number("--max-new-tokens", "Tokens to generate for each prompt.", least=1)]
Clients = Annotated[int, number("--clients", "Clients of a server.", least=1)]
Rounds = Annotated[int, number("--rounds", "Rounds, in each of which all engines take turns.", least=1)]
Seconds = Annotated[int, number("--seconds", "Seconds after which no further round starts.", least=0)]
PeerPython = Annotated[
    str,
    option("--peer-python", "PYTHON", "Interpreter of the other engines, which has hftool's packages, too. By default this."),
]
Out = Annotated[str | None, option("--out", "FILE", "Also write the document of --json into this file.")]


@shared_options("offline", "no_fallback")
def command(
    *,
    kind: Kind,
    model: Model,
    against: Against = None,
    precision: Precisions = "auto",
    file: File = None,
    limit: Limit = None,
    batch_size: BatchSize = None,
    max_new_tokens: Tokens = 64,
    clients: Clients = 64,
    rounds: Rounds = 5,
    seconds: Seconds = 60,
    peer_python: PeerPython = "",
    out: Out = None,
    shared: Shared,
) -> None:
    """Measure how fast a model trains, answers, generates or serves here, beside other engines.

    Each engine runs in a process of its own. Its outputs are compared with those of the model in fp32 first; one whose
    outputs differ is left out. Then the engines take turns: the median of the rounds is shown, beside what the products
    (R) and the memory (B) of this machine allow, measured in the same run.

    \b
    hftool bench infer runs/a --against pipeline,onnxruntime
    hftool bench generate gpt2 --batch-size 8 --precision fp32,int8
    hftool bench train bert --against trainer --json
    """
    go_offline(shared.offline)
    from hftool.benchmark.benchmark import run_benchmark
    from hftool.benchmark.job import Job, peers_of

    if out is not None:
        check_output(Path(out))
    precisions = tuple(dict.fromkeys(word.strip() for word in precision.split(",")))
    sizes: dict[str, Any] = {
        "limit": limit or 0,
        "batch_size": batch_size or 0,
        "max_new_tokens": max_new_tokens,
        "clients": clients,
    }
    more: dict[str, Any] = {"rounds": rounds, "seconds": seconds, "offline": shared.offline, "fallback": shared.fallback}
    more["peer_python"] = peer_python
    job = Job(kind, model, peers_of(kind, against), precisions, file, **sizes, **more)
    with shared.screen() as progress:
        document = run_benchmark(job, verbose=shared.verbose, progress=progress)
    if out is not None:
        write_json(Path(out), document)
    show = print_json if shared.as_json else _show
    show(document)


def _show(document: dict[str, Any]) -> None:
    """Print the table of the arms, then what the machine allows."""
    work, unit, rates = document["work"], document["unit"], document["machine_rates"]
    typer.echo(f"{work['rows']} rows of {work['from']}, {work['tokens']} tokens each; medians of {document['rounds']} rounds")
    width = max(len("engine"), *map(len, document["arms"])) + 2
    typer.echo(
        f"\n{'engine':<{width}}{unit + '/s':>11}{'from':>9}{'to':>9}{'format':>8}{'padding':>9}"
        f"{'GFLOP/s':>9}{'of R':>6}{'GB/s':>7}{'of B':>6}{'MB':>7}" + "".join(f"{title:>10}" for title in _more(document))
    )
    for name, row in document["arms"].items():
        rate = "".join(
            f"{_number(value):>{wide}}" for value, wide in zip((row["rate"], *row["spread"]), (11, 9, 9), strict=True)
        )
        shares = f"{_number(row['gflop_s']):>9}{_share(row['of_R']):>6}{_number(row['gb_s']):>7}{_share(row['of_B']):>6}"
        typer.echo(
            f"{name:<{width}}{rate}{row['number_format']:>8}{_share(row['padding']):>9}{shares}{row['peak_memory'] / 1e6:>7.0f}"
            + "".join(f"{row[key]:>10.{digits}f}" for key, digits in _more(document).values())
        )
    for name, times in document["times"].items():
        typer.echo(f"{next(iter(document['arms']))} is {times:.2f} times {name}")
    for name, reason in document["left_out"].items():
        typer.echo(f"{name} is left out: {reason}")
    typer.echo(
        f"\nR {_rates(rates)} GFLOP/s; B {rates['memory']:.1f} GB/s; {_number(work['gflop'])} GFLOP a {unit.rstrip('s')}"
    )
    typer.echo(f"R and B allow {_rates(document['floor'])} {unit}/s")


def _more(document: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """The columns that not every document has: title -> key and digits."""
    first = next(iter(document["arms"].values()))
    columns = {"first s": ("first_seconds", 1), "accuracy": ("accuracy", 4)}
    return {title: (key, digits) for title, (key, digits) in columns.items() if key in first}


def _rates(rates: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(rates[name])}" for name in ("fp32", "bf16") if rates.get(name))


def _number(value: float | None) -> str:
    """A number with three significant digits and no exponent; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
