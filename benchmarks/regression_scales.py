"""Regression on five scales: the error of hftool and that of plain transformers code with standardized targets.

    python benchmarks/regression_scales.py [--model bert-mini] [--epochs 8] [--rows 720] [--seed 0]

Ratings, prices, scores from -1 to 1, shares of about 0.001 and sums of about a million, each determined by words of a synthetic
advertisement, with noise. Both start with the same new head and train on the same rows in the same order, in fp32 and without
dropout, and keep the epoch with the lowest validation error; so the comparison is about the scaling of the targets, not about
random variation, which is larger. The results are written to benchmarks/results/regression_scales.json.
"""

import argparse
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.data.batches import step_batches
from hftool.machine import this_machine
from hftool.models import HeadConfig, load_model
from hftool.models.head_config import package_versions
from hftool.progress import silent
from hftool.workflow.resolve import resolve_model

RESULTS = Path(__file__).parent / "results" / "regression_scales.json"
BAR = 1.02  # times the error of plain code
BATCH, LR, CLIP, WARMUP, DECAY = 32, 3e-4, 1.0, 0.06, 0.01
KINDS = ("bed", "lamp", "sofa", "chair", "table", "desk", "shelf", "mirror")
WORDS = ("designer", "plain", "cheap", "old", "fine", "broken")
Rows = list[dict[str, Any]]
# value from 0 to 1 determined by the words -> number in the file
SCALES: dict[str, Callable[[float], float]] = {
    "ratings, 1 to 5": lambda x: round(1 + 4 * x, 1) + 0.05,
    "prices, 3 to 1208": lambda x: round(3 + 1205 * x * x, 1) + 0.01,
    "scores, -1 to 1": lambda x: 2 * x - 1,
    "shares, about 0.001": lambda x: 0.0004 + 0.0012 * x,
    "sums, about -2 to 3 million": lambda x: -2e6 + 5e6 * x + 0.25,
}


def make_rows(count: int, seed: int) -> list[tuple[str, float]]:
    rng = random.Random(seed)
    values = []
    for i in range(count):
        word, kind = rng.randrange(len(WORDS)), rng.randrange(len(KINDS))
        value = 0.75 * word / (len(WORDS) - 1) + 0.2 * kind / (len(KINDS) - 1) + rng.uniform(0, 0.05)
        values.append((f"A {WORDS[word]} {KINDS[kind]}, ad number {i}", value))
    return values


def error(answers: Sequence[float], rows: Rows) -> float:
    return statistics.fmean(abs(answer - row["label"]) for answer, row in zip(answers, rows, strict=True))


def train_plain(folder: Path, parts: dict[str, Rows], epochs: int, seed: int) -> float:
    """Trains with plain transformers code on standardized targets; returns the test error in the unit of the file."""
    import torch
    from transformers import AutoTokenizer, set_seed

    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head_config = HeadConfig(head="classify", problem_type="regression")
    model: Any = load_model(folder, "AutoModelForSequenceClassification", head_config=head_config, new_head=True).model
    labels = [row["label"] for row in parts["train"]]
    mean, scale = statistics.fmean(labels), statistics.pstdev(labels)
    bare = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    rest = [p for n, p in model.named_parameters() if not ("bias" in n or "LayerNorm" in n)]
    groups = [{"params": rest, "weight_decay": DECAY}, {"params": bare, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    lengths = [len(tokenizer(row["text"])["input_ids"]) for row in parts["train"]]
    plans = [step_batches(lengths, size=BATCH, window=50, seed=seed, epoch=epoch) for epoch in range(epochs)]
    steps = sum(map(len, plans))
    warm = math.ceil(WARMUP * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / warm if step < warm else (steps - step) / (steps - warm)
    )

    def answers(rows: Rows) -> list[float]:
        model.eval()
        with torch.inference_mode():
            inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
            found = [scale * value + mean for value in model(**inputs).logits[:, 0].double().tolist()]
        model.train()
        return found

    best = (float("inf"), float("inf"))
    model.train()
    for plan in plans:
        for indices in plan:
            rows = [parts["train"][i] for i in indices]
            inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
            targets = torch.tensor([(row["label"] - mean) / scale for row in rows])
            torch.nn.functional.mse_loss(model(**inputs).logits[:, 0], targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        on = {name: error(answers(parts[name]), parts[name]) for name in ("validation", "test")}
        best = min(best, (on["validation"], on["test"]))
    return best[1]


def train_hftool(folder: Path, parts: dict[str, Rows], epochs: int, seed: int, work: Path) -> tuple[float, dict[str, Any]]:
    """Trains with hftool on the original numbers; returns the test error and the report."""
    files = {}
    for name, rows in parts.items():
        files[name] = str(work / f"{name}.jsonl")
        Path(files[name]).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    knobs = {"epochs": epochs, "batch_size": BATCH, "lr": LR, "precision": "fp32", "seed": seed, "patience": 0, **files}
    result = workflow.finetune(str(folder), config=knobs, out=work / "run", head="classify", offline=True)
    return result.metrics["test"]["mean_absolute_error"], dict(result.metrics["test"])


def without_dropout(model: str, target: Path) -> Path:
    source = resolve_model(model, head="classify", offline=True, fallback=False, progress=silent).folder
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bert-mini")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=720)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    values, sixth = make_rows(given.rows, given.seed), given.rows // 6
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = without_dropout(given.model, Path(temporary) / "model")
        for name, number in SCALES.items():
            rows = [{"text": text, "label": number(value)} for text, value in values]
            parts = {"train": rows[2 * sixth :], "validation": rows[:sixth], "test": rows[sixth : 2 * sixth]}
            work = Path(temporary) / f"scale-{len(found)}"
            work.mkdir()
            hftool_error, report = train_hftool(folder, parts, given.epochs, given.seed, work)
            plain_error = train_plain(folder, parts, given.epochs, given.seed)
            found[name] = {
                "hftool": hftool_error,
                "plain": plain_error,
                "ratio": hftool_error / plain_error,
                "median_alone": report["median_baseline"]["mean_absolute_error"],
                "pearson": report["pearson"],
            }
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    worst = max(row["ratio"] for row in found.values())
    document = {
        "command": " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]]),
        "model": given.model,
        "metric": "mean absolute error on test, in the unit of the file",
        "bar": BAR,
        "worst_ratio": worst,
        "scales": found,
        "machine": this_machine().as_dict(),
        "versions": package_versions(),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"worst_ratio": worst, "bar": BAR}))
    sys.exit(worst > BAR)


if __name__ == "__main__":
    main()
