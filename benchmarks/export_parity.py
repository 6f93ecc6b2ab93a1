"""Parity of ONNX exports with their models: every family and head, the bundled models, and MiniLM on SST-2 (fp32, int8).

    python benchmarks/export_parity.py [DATA] [--only families minis sst2] [--run RUN] [--out results/export_parity.json]

families  tiny models of each family, trained here with each head of the family, exported in fp32 and int8. The figures are
          those of its export.json; an export over its tolerance is refused and recorded as such.
          Bar: no fp32 export is refused. int8 is shown for information: these models are too small to judge it.
minis     the bundled models, and MiniLM without fine-tuning (extra [offline]), in the same way.
sst2      MiniLM fine-tuned on SST-2 for one epoch with hftool's defaults, seed 0 (8 minutes on two cores; --run takes a
          finished run instead): accuracy on all of dev.tsv, size in bytes and milliseconds per text of torch, of the fp32 graph
          and of the int8 graph. Bar: int8 within half a point of fp32. DATA holds sst2/train.tsv and sst2/dev.tsv.
"""

import argparse
import contextlib
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.errors import HftoolError
from hftool.machine import this_machine
from hftool.registry.families import FAMILIES

ROOT = Path(__file__).parent.parent
PARTS = ("families", "minis", "sst2")
UNREGISTERED = {
    "electra": "bert",
    "xlm-roberta": "roberta",
}  # family without a row in the registry -> registered family with the same heads
MINIS = {"bert-mini": "fill", "roberta-mini": "fill", "gpt2-mini": "generate", "t5-mini": "text2text", "minilm": "embed"}
NUMBERS = (None, "int8")
MAX_ACCURACY_LOSS = 0.005
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "hftool-recipes")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, removed on exit."""
    folder = Path(tempfile.mkdtemp(prefix="export-parity-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exported(model: str, out: Path, quantize: str | None, **more: Any) -> dict[str, Any]:
    """The content of export.json, or the reason for a refusal."""
    began = time.perf_counter()
    try:
        report = dict(workflow.export(model, out=out, quantize=quantize, offline=True, **more).report)
    except HftoolError as error:
        return {"refused": str(error), "code": error.code}
    keys = ("head", "parity", "converted", "agreement", "metrics", "latency", "bytes", "graphs")
    return {**{name: report[name] for name in keys if name in report}, "seconds": round(time.perf_counter() - began, 1)}


def summary_of(report: Mapping[str, Any]) -> str:
    """One-line summary of an export."""
    if "refused" in report:
        return f"REFUSED ({report['code']}): {report['refused']}"
    parity = report["parity"]
    summary = [f"outputs {parity['outputs']['relative']:.1e}"]
    for name in ("answers", "random"):
        part = parity.get(name, {})
        if "same_texts" in part:
            summary.append(f"{part['same_texts']}/{part['texts']} texts the same")
        elif "same" in part:
            summary.append(f"{part['same']}/{part['of']} answers the same")
        elif "relative" in part:
            summary.append(f"{name} {part['relative']:.1e}")
    agreement = report.get("agreement", {})
    if agreement:
        same, count = agreement.get("same", agreement.get("same_tokens")), agreement.get("of", agreement.get("tokens"))
        summary.append(f"int8: {same}/{count} the same, {report['converted']['products']} products")
    before, after = report["bytes"]["before"], report["bytes"]["after"]
    summary.append(f"{before / 1e6:.1f} -> {after / 1e6:.1f} MB")
    summary.append(f"{report['latency']['before_ms']:.2f} -> {report['latency']['after_ms']:.2f} ms")
    return ", ".join(summary)


def both(name: str, model: str, **more: Any) -> dict[str, Any]:
    """Exports a model in fp32 and in int8."""
    reports = {}
    with scratch() as folder:
        for quantize in NUMBERS:
            reports[quantize or "fp32"] = exported(model, folder / (quantize or "fp32"), quantize, **more)
            print(f"{name:<24}{quantize or 'fp32':<6}{summary_of(reports[quantize or 'fp32'])}", flush=True)
    return reports


def families(options: argparse.Namespace) -> dict[str, Any]:
    """Each family with each of its heads."""
    sys.path.insert(0, str(ROOT / "tests"))
    tiny: Any = importlib.import_module("support.families")
    heads = {family.name: family.heads for family in FAMILIES}
    heads |= {family_name: heads[like] for family_name, like in UNREGISTERED.items()}
    reports: dict[str, Any] = {}
    for kind, known in heads.items():
        if kind not in tiny.KINDS or (options.kinds and kind not in options.kinds):
            continue
        for task, (head, *_rest) in tiny.HEAD_CASES.items():
            if head not in known:
                continue
            try:
                run, _notices = tiny.trained_run(kind, task)
            except HftoolError as error:
                reports[f"{kind} {task}"] = {"refused": f"not trained: {error}", "code": error.code}
                continue
            reports[f"{kind} {task}"] = both(f"{kind} {task}", str(run.run.path))
    refused = [name for name, report in reports.items() if "refused" in report.get("fp32", report)]
    print(f"families: {len(reports)} models, fp32 refused: {refused or 'none'}", flush=True)
    return {"models": reports, "refused_in_fp32": refused}


def minis(_: argparse.Namespace) -> dict[str, Any]:
    """The bundled models, and MiniLM."""
    return {"models": {name: both(name, name, head=head) for name, head in MINIS.items()}}


def sst2(options: argparse.Namespace) -> dict[str, Any]:
    """MiniLM on SST-2."""
    if options.data is None:
        sys.exit("sst2 needs DATA, the folder that holds sst2/train.tsv and sst2/dev.tsv")
    data = options.data / "sst2"
    with scratch() as folder:
        run = options.run or folder / "run"
        if not options.run:
            knobs = {"train": str(data / "train.tsv"), "validation": str(data / "dev.tsv"), "epochs": 1, "seed": 0}
            workflow.finetune("minilm", "sst2", config=knobs, out=run, offline=True)
        reports: dict[str, Any] = {"torch": {"accuracy": accuracy(str(run), data, folder)}}
        for quantize in NUMBERS:
            name = quantize or "fp32"
            report = exported(str(run), folder / name, quantize)
            print(f"sst2 {name:<6}{summary_of(report)}", flush=True)
            measured = {} if "refused" in report else {"accuracy": accuracy(str(folder / name), data, folder)}
            reports[name] = {**report, **measured}
    accuracy_loss = reports["fp32"].get("accuracy", float("nan")) - reports["int8"].get("accuracy", float("nan"))
    shown = ", ".join(f"{name} {row.get('accuracy', float('nan')):.4f}" for name, row in reports.items())
    print(f"sst2 accuracy: {shown}; int8 loses {accuracy_loss * 100:+.2f} points (bar {MAX_ACCURACY_LOSS * 100:g})", flush=True)
    return {**reports, "lost_by_int8": accuracy_loss, "bar": MAX_ACCURACY_LOSS, "holds": accuracy_loss <= MAX_ACCURACY_LOSS}


def accuracy(model: str, data: Path, folder: Path) -> float:
    """Accuracy on all of dev.tsv."""
    errors = folder / f"errors-{time.monotonic_ns()}.jsonl"
    report = workflow.evaluate(model, str(data / "dev.tsv"), errors=errors, offline=True)
    return float(report.metrics["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--kinds", nargs="*", help="only these families, in `families`")
    parser.add_argument("--run", help="a MiniLM fine-tuned on SST-2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts = {"families": families, "minis": minis, "sst2": sst2}
    result = {name: parts[name](options) for name in options.only}
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])
    facts = {"machine": this_machine().as_dict(), "versions": {name: version(name) for name in LIBRARIES}}
    if options.out:
        options.out.write_text(json.dumps({"command": command, **result, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
