"""What rows of `hftool suggest` add to a classifier of SST-2, beside as many rows at random.

    python benchmarks/suggest_sst2.py SST2_FOLDER [--seeds 0 1 2] [--out results/suggest_sst2.json]

For each seed MiniLM is trained on 200 random rows of train; then 200 rows of a pool of 6,000 others are added, those that
`suggest` chooses or random ones, and MiniLM is trained again from the start. All are evaluated on the 872 sentences of dev; the
checkpoint is chosen on 400 further rows of train.
"""

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from hftool import workflow
from hftool.data.readers.tables import read_table
from hftool.machine import this_machine

COUNT, POOL, VALIDATION = 200, 6000, 400
CONFIG = {"head": "classify", "epochs": 8.0, "batch_size": 16, "lr": 1e-4, "max_length": 64}


def labelled(path, split):
    """Sentence -> label, each sentence once."""
    return {row["sentence"].strip(): row["label"] for row in read_table(path, split).rows}


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text", "label"), *rows])
    return str(path)


def measured(folder, name, rows, files, seed):
    """A model trained on rows, and its accuracy on dev."""
    config = {**CONFIG, "train": write(folder / f"{name}.csv", rows), "validation": files["validation"], "seed": seed}
    result = workflow.finetune("minilm", None, config=config, out=folder / name, offline=True)
    return result, workflow.evaluate(result, files["dev"]).metrics["accuracy"]


def one_seed(sst2, seed):
    rows = list(labelled(sst2 / "train.tsv", "train").items())
    chance = random.Random(seed)
    chance.shuffle(rows)
    held, first, pool = rows[:VALIDATION], rows[VALIDATION:][:COUNT], rows[VALIDATION + COUNT :][:POOL]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"validation": write(folder / "held.csv", held)}
        files["dev"] = write(folder / "dev.csv", labelled(sst2 / "dev.tsv", "validation").items())
        result, start = measured(folder, "start", first, files, seed)
        found = workflow.suggest(result, [{"text": text} for text, _ in pool], count=COUNT)
        labels = dict(pool)
        suggested = [(row["text"], labels[row["text"]]) for row in found.rows]
        arms = {"suggested": suggested, "random": chance.sample(pool, COUNT)}
        accuracy = {arm: measured(folder, arm, [*first, *more], files, seed)[1] for arm, more in arms.items()}
    uncertainty = {"suggested": found.uncertainty, "pool": found.pool_uncertainty}
    return {"seed": seed, "start": start, **accuracy, "uncertainty": uncertainty}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sst2", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out")
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        runs.append(one_seed(options.sst2, seed))
        print(json.dumps(runs[-1]), flush=True)
        if options.out:
            mean = {name: statistics.mean(run[name] for run in runs) for name in ("start", "suggested", "random")}
            words = ["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])]
            document = {
                "command": " ".join(words),
                "runs": runs,
                "mean": mean,
                "points": 100 * (mean["suggested"] - mean["random"]),
                "machine": this_machine().as_dict(),
                "versions": {name: version(name) for name in ("torch", "transformers", "hftool-recipes")},
            }
            Path(options.out).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
