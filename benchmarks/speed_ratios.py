"""hftool beside transformers on models that come with it: the ratios that the slow test tests/benchmark/test_speed.py holds.

    python benchmarks/speed_ratios.py [--rounds 5] [--out results/speed_ratios.json]

infer     a MiniLM with a classifier on sst2-mini (extra [offline]), beside the pipeline in batches of 32
generate  gpt2-mini, 8 prompts, greedy, beside model.generate
train     MiniLM on 320 rows of sst2-mini, beside Trainer with its defaults

A ratio belongs to a machine: the result has its processor and threads.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from serving import save_result

from hftool import workflow
from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import Job

ALL = 10**9


def classifier(folder: Path) -> str:
    """A MiniLM, trained for a few steps."""
    config = {"epochs": 1, "limit": 128, "device": "cpu"}
    workflow.finetune("minilm", "sst2-mini", config=config, out=folder / "run", offline=True)
    return str(folder / "run")


def ratios(rounds: int) -> dict[str, float]:
    """hftool's rate as a multiple of that of transformers, for each kind of work."""
    more: dict[str, Any] = {"rounds": rounds, "seconds": ALL, "offline": True}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            "pipeline in batches": Job("infer", classifier(Path(folder)), ("pipeline",), **more),
            "transformers fp32": Job("generate", "gpt2-mini", ("transformers",), batch_size=8, **more),
            "trainer": Job("train", "minilm", ("trainer",), **more),
        }
        return {job.kind: run_benchmark(job)["times"][name] for name, job in jobs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    given = parser.parse_args()
    result = {"rounds": given.rounds, "times": ratios(given.rounds)}
    print(result["times"])
    save_result(given.out, result)


if __name__ == "__main__":
    main()
