"""Exports beside the models they were made of: every family and head, the minis, and MiniLM on SST-2 in fp32 and int8.

    python benchmarks/export_parity.py [DATA] [--only families minis sst2] [--run RUN] [--out results/export_parity.json]

families  tiny models of each family, trained here under each head that the family has, exported in fp32 and in int8. What is
          compared stands in the export.json of each; an export over its tolerance is no folder and stands here as refused.
          Wanted: no fp32 export is refused. Models as tiny as these are no measure of int8: what it does to them is shown.
minis     the small models that hftool brings itself, and MiniLM as it is (extra [offline]), the same way.
sst2      MiniLM fine-tuned on SST-2 for one epoch with hftool's defaults, seed 0 (8 minutes on two cores; --run takes a
          finished run instead): accuracy on the whole of dev.tsv, bytes, and milliseconds for a text, of torch, of the graph in
          fp32, and of the graph in int8. Wanted: int8 within half a point of fp32. DATA holds sst2/train.tsv and sst2/dev.tsv.
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
from hftool.registry.models import FAMILIES

ROOT = Path(__file__).parent.parent
PARTS = ("families", "minis", "sst2")
STRANGERS = {"electra": "bert", "xlm-roberta": "roberta"}  # families without a row in the registry -> whose heads they have
MINIS = {"bert-mini": "fill", "roberta-mini": "fill", "gpt2-mini": "generate", "t5-mini": "text2text", "minilm": "embed"}
NUMBERS = (None, "int8")
MOST_LOST = 0.005
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "hftool-recipes")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="export-parity-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exported(model: str, out: Path, quantize: str | None, **more: Any) -> dict[str, Any]:
    """What stands in export.json, or why there is none."""
    began = time.perf_counter()
    try:
        report = dict(workflow.export(model, out=out, quantize=quantize, offline=True, **more).report)
    except HftoolError as error:
        return {"refused": str(error), "code": error.code}
    kept = ("head", "parity", "converted", "agreement", "metrics", "latency", "bytes", "graphs")
    return {**{name: report[name] for name in kept if name in report}, "seconds": round(time.perf_counter() - began, 1)}


def words(report: Mapping[str, Any]) -> str:
    """An export in a line."""
    if "refused" in report:
        return f"REFUSED ({report['code']}): {report['refused']}"
    parity = report["parity"]
    said = [f"outputs {parity['outputs']['relative']:.1e}"]
    for name in ("answers", "random"):
        part = parity.get(name, {})
        if "same_texts" in part:
            said.append(f"{part['same_texts']}/{part['texts']} texts the same")
        elif "same" in part:
            said.append(f"{part['same']}/{part['of']} answers the same")
        elif "relative" in part:
            said.append(f"{name} {part['relative']:.1e}")
    agreement = report.get("agreement", {})
    if agreement:
        same, count = agreement.get("same", agreement.get("same_tokens")), agreement.get("of", agreement.get("tokens"))
        said.append(f"int8: {same}/{count} the same, {report['converted']['products']} products")
    before, after = report["bytes"]["before"], report["bytes"]["after"]
    said.append(f"{before / 1e6:.1f} -> {after / 1e6:.1f} MB")
    said.append(f"{report['latency']['before_ms']:.2f} -> {report['latency']['after_ms']:.2f} ms")
    return ", ".join(said)


def both(name: str, model: str, **more: Any) -> dict[str, Any]:
    """An export in fp32 and one in int8."""
    made = {}
    with scratch() as folder:
        for quantize in NUMBERS:
            made[quantize or "fp32"] = exported(model, folder / (quantize or "fp32"), quantize, **more)
            print(f"{name:<24}{quantize or 'fp32':<6}{words(made[quantize or 'fp32'])}", flush=True)
    return made


def families(options: argparse.Namespace) -> dict[str, Any]:
    """Each family under each of its heads."""
    sys.path.insert(0, str(ROOT / "tests"))
    tiny: Any = importlib.import_module("support.families")
    heads = {family.name: family.heads for family in FAMILIES}
    heads |= {stranger: heads[like] for stranger, like in STRANGERS.items()}
    made: dict[str, Any] = {}
    for kind, known in heads.items():
        if kind not in tiny.KINDS or (options.kinds and kind not in options.kinds):
            continue
        for lesson, (head, *_rest) in tiny.LESSONS.items():
            if head not in known:
                continue
            try:
                run, _said = tiny.learnt(kind, lesson)
            except HftoolError as error:
                made[f"{kind} {lesson}"] = {"refused": f"not trained: {error}", "code": error.code}
                continue
            made[f"{kind} {lesson}"] = both(f"{kind} {lesson}", str(run.run.path))
    refused = [name for name, report in made.items() if "refused" in report.get("fp32", report)]
    print(f"families: {len(made)} models, fp32 refused: {refused or 'none'}", flush=True)
    return {"models": made, "refused_in_fp32": refused}


def minis(_: argparse.Namespace) -> dict[str, Any]:
    """What hftool brings, and MiniLM."""
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
        made: dict[str, Any] = {"torch": {"accuracy": accuracy(str(run), data, folder)}}
        for quantize in NUMBERS:
            name = quantize or "fp32"
            report = exported(str(run), folder / name, quantize)
            print(f"sst2 {name:<6}{words(report)}", flush=True)
            measured = {} if "refused" in report else {"accuracy": accuracy(str(folder / name), data, folder)}
            made[name] = {**report, **measured}
    lost = made["fp32"].get("accuracy", float("nan")) - made["int8"].get("accuracy", float("nan"))
    shown = ", ".join(f"{name} {row.get('accuracy', float('nan')):.4f}" for name, row in made.items())
    print(f"sst2 accuracy: {shown}; int8 loses {lost * 100:+.2f} points (bar {MOST_LOST * 100:g})", flush=True)
    return {**made, "lost_by_int8": lost, "bar": MOST_LOST, "holds": lost <= MOST_LOST}


def accuracy(model: str, data: Path, folder: Path) -> float:
    """On the whole of dev.tsv."""
    errors = folder / f"errors-{time.monotonic_ns()}.jsonl"
    report = workflow.evaluate(model, str(data / "dev.tsv"), errors=errors, offline=True)
    return float(report.metrics["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--kinds", nargs="*", help="of `families`: these alone")
    parser.add_argument("--run", help="a MiniLM fine-tuned on SST-2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts = {"families": families, "minis": minis, "sst2": sst2}
    result = {name: parts[name](options) for name in options.only}
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(word).name for word in sys.argv[1:])])
    facts = {"machine": this_machine().as_dict(), "versions": {name: version(name) for name in LIBRARIES}}
    if options.out:
        options.out.write_text(json.dumps({"command": command, **result, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
