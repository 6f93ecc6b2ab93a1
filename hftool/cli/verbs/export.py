"""The command `hftool export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hftool.cli.next_command import next_command, read_facts
from hftool.cli.offline import go_offline
from hftool.cli.options import Head, Model, Shared, option, shared_options
from hftool.cli.progress import print_json
from hftool.progress.display import number_text

NAME = "export"
Out = Annotated[str, option("--out", "DIR", "The folder to write.")]
To = Annotated[str, option("--to", "WORD", "The format: onnx.")]
Quantize = Annotated[str | None, option("--quantize", "WORD", "int8: weights of 8 bits, a quarter of the size.")]


@shared_options("offline", "no_fallback")
def command(*, model: Model, out: Out, to: To = "onnx", quantize: Quantize = None, head: Head = None, shared: Shared) -> None:
    """Export a model as ONNX graphs, after comparing their answers with the model's.

    Every verb takes the folder as a model: classify, predict, evaluate, serve.

    \b
    hftool export runs/a --to onnx --quantize int8 --out a-int8
    """
    go_offline(shared.offline)
    from hftool import workflow

    with shared.screen() as progress:
        exported = workflow.export(model, out=out, to=to, quantize=quantize, head=head, **shared.access(progress))
    if shared.as_json:
        print_json({"path": str(exported.path), **exported.report})
    else:
        _show(str(exported.path), exported.report)


def _show(path: str, report: Any) -> None:
    """Print the comparison, sizes and latencies."""
    parity, size, latency = report["parity"], report["bytes"], report["latency"]
    typer.echo(f"export      {path}: {', '.join(report['graphs'].values())}")
    typer.echo(f"parity      {_parity(parity)}")
    if report["quantize"]:
        converted, agreed = report["converted"], report["agreement"]
        same, count = agreed.get("same", agreed.get("same_tokens")), agreed.get("of", agreed.get("tokens"))
        tables = f" and {converted['tables']} tables" if converted["tables"] else ""
        typer.echo(
            f"{report['quantize']:<12}{converted['products']} products{tables} converted; {same} of {count} answers the same"
        )
    if report["metrics"]:
        measured = report["metrics"]
        name = measured["deciding"]
        before, after = measured["before"][name], measured["after"][name]
        typer.echo(f"{name:<11} {number_text(before)} before, {number_text(after)} after  ({measured['rows']} rows)")
    typer.echo(f"size        {size['before'] / 1e6:.1f} MB before, {size['after'] / 1e6:.1f} MB after")
    typer.echo(
        f"latency     {latency['before_ms']:.1f} ms before, {latency['after_ms']:.1f} ms after  "
        f"(one text, {latency['threads']} threads)"
    )
    typer.echo(f"next        {next_command(path, read_facts(Path(path)))}")


def _parity(parity: Any) -> str:
    outputs, texts = parity["outputs"], parity["random"].get("texts")
    worst = max(outputs["relative"], parity["random"].get("relative", 0.0))
    outcome = f"outputs differ by at most {worst:.1e} of the largest ({parity['tolerance']:g} is allowed)"
    if texts:
        return f"{outcome}; {parity['random']['same_texts']} of {texts} texts the same"
    return f"{outcome}; {parity['answers']['same']} of {parity['answers']['of']} answers the same"
