"""Training samples per second: hftool and transformers' Trainer with the same data, batch size and model.

    python benchmarks/train_classify.py TRAIN.tsv [--rounds 3] [--steps 100] [--out results/train_classify.json]

This is `hftool bench train minilm` with three arms that alternate, each in a separate process: `hftool` with its defaults,
`trainer` (its defaults, dynamic padding), and `trainer-best` (bf16 and length grouping). The clock runs over one complete
epoch, from the start of its first step to the end of its last: both sort by length within windows of 50 steps, Trainer takes
the longest of a window first and hftool shuffles, so that part of an epoch would compare different batches. Loading, and
hftool's evaluation and saving at the end, are not included. Needs the extra [offline].
"""

import argparse
import json
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import Job
from hftool.machine import this_machine

BATCH = 32
NAMES = {"trainer bf16, grouped by length": "trainer-best"}
ALL = 10**9


def command_line():
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out")
    options = parser.parse_args()
    more = {"limit": options.steps * BATCH, "batch_size": BATCH, "rounds": options.rounds, "seconds": ALL, "offline": True}
    found = run_benchmark(
        Job("train", "minilm", file=options.train, against=("trainer",), **more),
        progress=lambda event: print(event.text, flush=True),
    )
    speeds = {NAMES.get(name, name): arm["rates"] for name, arm in found["arms"].items()}
    medians = {arm: statistics.median(values) for arm, values in speeds.items()}
    result = {
        "command": command_line(),
        "batch_size": BATCH,
        "steps": options.steps,
        "samples_per_second": speeds,
        "median": medians,
        "times_trainer": medians["hftool"] / medians["trainer"],
        "times_trainer_best": medians["hftool"] / medians["trainer-best"],
        "machine": this_machine().as_dict(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "hftool-recipes")},
    }
    print(
        f"hftool is {result['times_trainer']:.2f} times Trainer's defaults, {result['times_trainer_best']:.2f} times its best"
    )
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
