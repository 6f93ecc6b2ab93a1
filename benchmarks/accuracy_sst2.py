"""Accuracy on SST-2 after one epoch for several seeds, and whether the same seed gives bitwise equal weights.

    python benchmarks/accuracy_sst2.py TRAIN.tsv DEV.tsv [--seeds 0 1 2] [--out results/accuracy_sst2.json]

MiniLM (22.7 M parameters, extra [offline]) with hftool's defaults, except for one epoch. The first seed is run twice and the
two model.safetensors are compared by SHA-256.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path


def one_run(train, dev, seed, out):
    command = [
        "hftool",
        "finetune",
        "minilm",
        "sst2",
        "--train",
        train,
        "--validation",
        dev,
        "--epochs",
        "1",
        "--seed",
        str(seed),
        "--out",
        str(out),
        "--offline",
        "--json",
    ]
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout)
    metrics = json.loads(done.stdout)["metrics"]
    from hftool.storage.checksums import sha256

    return {
        "seed": seed,
        "accuracy": metrics["validation"]["accuracy"],
        "rows": metrics["validation"]["rows"],
        "seconds": metrics["seconds"],
        "seconds_saving": metrics["seconds_saving"],
        "steps": metrics["steps"],
        "sha256": sha256(Path(out) / "model" / "model.safetensors"),
        "command": " ".join(Path(argument).name for argument in command),
    }


def command_line():
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate([*options.seeds, options.seeds[0]]):
            runs.append(one_run(options.train, options.dev, seed, Path(folder) / str(number)))
            print(
                f"seed {seed}  accuracy {runs[-1]['accuracy']:.4f}  {runs[-1]['seconds']:.0f} s  {runs[-1]['sha256'][:16]}",
                flush=True,
            )
    from hftool.machine import this_machine

    repeated = runs.pop()
    result = {
        "command": command_line(),
        "runs": runs,
        "mean_accuracy": statistics.mean(run["accuracy"] for run in runs),
        "again": repeated,
        "same_seed_same_weights": repeated["sha256"] == runs[0]["sha256"],
        "machine": this_machine().as_dict(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "hftool-recipes")},
    }
    print(f"mean {result['mean_accuracy']:.4f}; same seed, same weights: {result['same_seed_same_weights']}")
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
