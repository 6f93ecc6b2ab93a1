"""Ten tasks with imbalanced classes or tied metrics: is the selected checkpoint the best one on a test split?

    python benchmarks/ties.py [--only NAME ...] [--seed 0]

Each run keeps all its checkpoints, and each is evaluated on a held-out test split. The checkpoint selected by the
run is compared with that of the rule of version 427113a, computed from the same evaluations: accuracy for classes, a
tie is no improvement, and three evaluations without improvement end the run. Rows are synthetic: the label depends on
words of different frequency only. The results are written to benchmarks/results/ties.json.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.heads.protocol import Metrics
from hftool.machine import this_machine
from hftool.models.head_config import package_versions
from hftool.storage.run_folder import Run
from hftool.training.checkpoints import CheckpointManager
from hftool.workflow._load import make_predictor

RESULTS = Path(__file__).parent / "results" / "ties.json"
OLD_PATIENCE = 3
OLD = {"macro_f1": "accuracy"}  # deciding metric for imbalanced classes in that version
COMMON = (
    "a {} from {} in {}",
    ("note", "letter", "call", "form"),
    ("Ann", "Bob", "Eve", "Tom", "Ida"),
    ("May", "June", "July"),
)
Rows = list[dict[str, Any]]


def sentence(rng: random.Random, number: int, word: str) -> str:
    pattern, *lists = COMMON
    return f"{pattern.format(*map(rng.choice, lists))}, {word}, number {number}"


def classes(words: Mapping[str, Sequence[str]], shares: Sequence[float]) -> Callable[[random.Random, int], Rows]:
    """Rows whose label depends on one word, in these shares."""

    def make_rows(rng: random.Random, count: int) -> Rows:
        names = [name for name, share in zip(words, shares, strict=True) for _ in range(max(2, round(share * count)))]
        rng.shuffle(names)
        return [{"text": sentence(rng, rng.randrange(10**6), rng.choice(words[name])), "label": name} for name in names]

    return make_rows


def pairs(rng: random.Random, count: int) -> Rows:
    rows = []
    for i in range(count):
        word, rare = rng.choice(["paid", "sent", "lost"]), i % 12 == 0
        other = rng.choice(["refused", "returned"]) if rare else rng.choice(["kept", "filed", "read"])
        number = rng.randrange(10**6)
        rows.append({"text": f"{word}, number {number}", "text_pair": f"it was {other}", "label": "open" if rare else "done"})
    return rows


def tags(rng: random.Random, count: int) -> Rows:
    """Rows in which only a few words are entities."""
    rows = []
    for _ in range(count):
        words = [rng.choice(["the", "a", "old", "man", "went", "home", "saw", "it", "and", "then"]) for _ in range(9)]
        tag_names = ["O"] * 9
        if rng.random() < 0.25:
            index = rng.randrange(9)
            words[index], tag_names[index] = rng.choice(["London", "Paris", "Rome"]), "B-LOC"
        rows.append({"tokens": [*words, str(rng.randrange(10**5))], "tags": [*tag_names, "O"]})
    return rows


def questions(rng: random.Random, count: int) -> Rows:
    """Mostly questions without an answer in their context."""
    rows = []
    for i in range(count):
        town, number = rng.choice(["London", "Paris", "Rome", "Bath"]), rng.randrange(10**5)
        context = f"The train number {number} goes to {town} today."
        with_answer = i % 4 == 0
        question = "Where does the train go?" if with_answer else "Who drives the bus?"
        answers = {"text": [town], "answer_start": [context.index(town)]} if with_answer else {"text": [], "answer_start": []}
        rows.append({"question": question, "context": context, "answers": answers})
    return rows


GOOD, BAD = ("thanks", "great", "fine", "hello"), ("refund", "broken", "angry")
TOPICS = {"no": GOOD, "yes": BAD}
WIDE = {"none": GOOD, "money": ("refund", "invoice"), "fault": ("broken", "cracked"), "law": ("lawyer", "court")}
# name -> rows, epochs, further settings
TASKS: dict[str, tuple[Callable[[random.Random, int], Rows], int, dict[str, Any]]] = {
    "5 % positive": (classes(TOPICS, (0.95, 0.05)), 14, {}),
    "3 % positive": (classes(TOPICS, (0.97, 0.03)), 16, {}),
    "10 % positive": (classes(TOPICS, (0.9, 0.1)), 10, {}),
    "5 % positive, weighted": (classes(TOPICS, (0.95, 0.05)), 10, {"class_weights": "balanced"}),
    "20 % positive, low rate": (classes(TOPICS, (0.8, 0.2)), 10, {"lr": 3e-5}),
    "three classes, 90 7 3": (classes({k: WIDE[k] for k in ("none", "money", "fault")}, (0.9, 0.07, 0.03)), 14, {}),
    "four classes, 70 20 6 4": (classes(WIDE, (0.7, 0.2, 0.06, 0.04)), 12, {}),
    "pairs, 8 % open": (pairs, 14, {}),
    "tags, few entities": (tags, 8, {}),
    "questions, most without an answer": (questions, 8, {}),
}
RATE = 1e-4


def old_choice(history: Sequence[Mapping[str, Any]], metrics: Metrics) -> int:
    """The step selected by the rule of version 427113a."""
    name = OLD.get(metrics.best, metrics.best)
    best, selected, worse = None, 0, 0
    for line in history:
        value = line["evaluation"][name]
        if best is None or (value > best if metrics.rises else value < best):
            best, selected, worse = value, line["step"], 0
        else:
            worse += 1
        if worse >= OLD_PATIENCE:
            break
    return selected


def evaluate_checkpoints(run: Run, test: Path, name: str) -> dict[int, dict[str, float]]:
    """Deciding metric and loss of each checkpoint on the test split."""
    found = {}
    for step in CheckpointManager(run.checkpoints).steps():
        saved = workflow.save(run.path, out=test.parent / f"step-{step}", checkpoint=f"step-{step:06d}")
        report = workflow.evaluate(str(saved), str(test), offline=True).metrics
        found[step] = {name: report[name], "loss": report["loss"]}
    return found


def one(name: str, work: Path, seed: int) -> dict[str, Any]:
    make_rows, epochs, more = TASKS[name]
    rng = random.Random(f"{name}-{seed}")
    files = {}
    for split, count in (("train", 320), ("validation", 60), ("test", 300)):
        files[split] = work / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in make_rows(rng, count)), encoding="utf-8")
    knobs = {"lr": RATE, "epochs": epochs, "batch_size": 16, "keep": 1000, "seed": seed, "allow_leak": True, **more}
    given = {"train": str(files["train"]), "validation": str(files["validation"])}
    result = workflow.finetune("bert-mini", config={**knobs, **given}, out=work / "run", offline=True)
    metrics = make_predictor(workflow.load(str(result.run.path))).head.metrics()
    on_test = evaluate_checkpoints(result.run, files["test"], metrics.best)
    history = [
        line for line in map(json.loads, result.run.log.read_text(encoding="utf-8").splitlines()) if "evaluation" in line
    ]
    selected, before = result.metrics["best_step"], old_choice(history, metrics)
    return {
        "metric": metrics.best,
        "evaluations": len(history),
        "kept": {"step": selected, **on_test[selected]},
        "kept_by_427113a": {"step": before, **on_test[before]},
        "best_on_test": max(row[metrics.best] for row in on_test.values()),
        "verdicts": result.metrics["verdicts"],
    }


def is_preferred(row: Mapping[str, Any]) -> bool:
    """Whether the selected checkpoint is at least as good on test as that of the old rule; the loss decides a tie."""
    name, selected_metrics, old_metrics = row["metric"], row["kept"], row["kept_by_427113a"]
    return (selected_metrics[name], -selected_metrics["loss"]) >= (old_metrics[name], -old_metrics["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as work:
            found[name] = one(name, Path(work), given.seed)
        found[name]["preferred"] = is_preferred(found[name])
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    document = {
        "command": " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]]),
        "model": "bert-mini",
        "preferred": sum(row["preferred"] for row in found.values()),
        "tasks": found,
        "machine": this_machine().as_dict(),
        "versions": package_versions(),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"preferred": document["preferred"], "of": len(found)}))


if __name__ == "__main__":
    main()
