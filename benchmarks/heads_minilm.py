"""MiniLM fine-tuned with four heads on public data, and its plain embeddings, evaluated on held-out data.

    python benchmarks/heads_minilm.py DATA [--only mrpc stsb ...] [--seed 0] [--lr 5e-5]

DATA holds mrpc/train.jsonl test.jsonl, stsb/en/train.csv dev.csv test.csv, wnut17/train.jsonl dev.jsonl test.jsonl,
squad_v1.1/small_train.jsonl small_dev.jsonl and chnsenticorp_htl/all.csv. Each result, with its bar, is added to
benchmarks/results/heads_minilm.json; the checkpoint is selected on the validation split only. The result of another learning
rate than the default of a job is stored beside it.
"""

import argparse
import csv
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.machine import this_machine
from hftool.models.head_config import package_versions
from hftool.progress import Event

RESULTS = Path(__file__).parent / "results" / "heads_minilm.json"
MODEL = "minilm"
# task, files by split, settings, evaluated split, metric, bar
JOBS: dict[str, dict[str, Any]] = {
    "mrpc": {
        "task": "mrpc",
        "files": {"train": "mrpc/train.jsonl", "test": "mrpc/test.jsonl"},
        "knobs": {"epochs": 4, "batch_size": 16, "lr": 1e-4},
        "measure": ("test", "f1", 0.86),
    },
    "stsb": {
        "task": "stsb",
        "files": {"train": "stsb/en/train.csv", "validation": "stsb/en/dev.csv"},
        "knobs": {"epochs": 6, "batch_size": 32, "lr": 5e-5, "columns": {"label": "score"}},
        "measure": ("validation", "pearson", 0.84),
    },
    "wnut17": {
        "task": "wnut17",
        "files": {"train": "wnut17/train.jsonl", "validation": "wnut17/dev.jsonl", "test": "wnut17/test.jsonl"},
        "knobs": {"epochs": 8, "batch_size": 16, "lr": 1e-4, "columns": {"tags": "tags"}},
        "measure": ("test", "entity_f1", 0.35),
    },
    "squad": {
        "task": "squad",
        "files": {"train": "squad_v1.1/small_train.jsonl", "test": "squad_v1.1/small_dev.jsonl"},
        "knobs": {"epochs": 3, "batch_size": 16, "lr": 1e-4},
        "measure": ("test", "f1", 0.50),
    },
    "chnsenticorp_htl": {
        "task": None,
        "files": {"train": "train.csv", "validation": "validation.csv", "test": "test.csv"},
        "knobs": {
            "epochs": 8,
            "batch_size": 8,  # four of them are one optimizer step
            "accumulate": 4,
            "sort_steps": 1,
            "lr": 1e-4,
            "max_length": 256,
            "columns": {"text": "review", "label": "label"},
        },
        "measure": ("test", "accuracy", 0.78),
    },
}
EMBEDDINGS = ("stsb/en/test.csv", "spearman", 0.80)


def split_hotel_reviews(data: Path, folder: Path) -> None:
    """Splits the file 80/10/10 % with a fixed seed, since it has no official split; a row without a text stays in its split."""
    with open(data / "chnsenticorp_htl" / "all.csv", encoding="utf-8", newline="") as handle:
        header, *rows = list(csv.reader(handle))
    random.Random(0).shuffle(rows)
    ends = {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
    for split, (begin, end) in ends.items():
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([header, *rows[round(begin * len(rows)) : round(end * len(rows))]])


def show(event: Event) -> None:
    if event.kind in ("notice", "evaluation"):
        print(event.text or dict(event.values), file=sys.stderr, flush=True)


def train(name: str, data: Path, work: Path, seed: int, lr: float | None) -> dict[str, Any]:
    job = JOBS[name]
    folder = data
    if name == "chnsenticorp_htl":
        folder = work / "hotels"
        folder.mkdir()
        split_hotel_reviews(data, folder)
    files = {split: str(folder / path) for split, path in job["files"].items()}
    knobs = {**job["knobs"], "seed": seed, "patience": 0, **({"lr": lr} if lr else {})}
    started = time.perf_counter()
    result = workflow.finetune(MODEL, job["task"], config={**knobs, **files}, out=work / name, offline=True, progress=show)
    split, metric, bar = job["measure"]
    measured = {part: result.metrics[part] for part in ("validation", "test") if part in result.metrics}
    return {
        "model": MODEL,
        "seed": seed,
        "knobs": knobs,
        "files": job["files"],
        "split": split,
        "metric": metric,
        "value": measured[split][metric],
        "bar": bar,
        "steps": result.metrics["steps"],
        "best_step": result.metrics["best_step"],
        "seconds": round(time.perf_counter() - started),
        "measured": {part: {k: v for k, v in row.items() if isinstance(v, int | float)} for part, row in measured.items()},
    }


def embeddings(data: Path) -> dict[str, Any]:
    path, metric, bar = EMBEDDINGS
    report = workflow.evaluate(MODEL, str(data / path), head="embed", column={"label": "score"}, offline=True)
    numbers = {k: v for k, v in report.metrics.items() if isinstance(v, int | float)}
    return {"model": MODEL, "files": path, "metric": metric, "value": report.metrics[metric], "bar": bar, "measured": numbers}


def save_result(name: str, result: Mapping[str, Any]) -> None:
    """Adds a result to the results file, with command and machine."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])
    known[name] = {**result, "command": command, "machine": this_machine().as_dict(), "versions": package_versions()}
    RESULTS.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {result['metric']} {result['value']:.4f}, bar {result['bar']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=["embeddings", *JOBS], choices=["embeddings", *JOBS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float)
    args = parser.parse_args()
    for name in args.only:
        work = Path(tempfile.mkdtemp())
        try:
            if name == "embeddings":
                save_result(name, embeddings(args.data))
            else:
                save_result(f"{name} at {args.lr:g}" if args.lr else name, train(name, args.data, work, args.seed, args.lr))
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
