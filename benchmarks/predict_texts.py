"""Texts a second of `hftool predict`, start-up taken off, beside transformers' text-classification pipeline.

    python benchmarks/predict_texts.py RUN TEXTS.tsv [--times 11] [--rounds 3] [--out results/predict_texts.json]

RUN is a fine-tuned classifier; TEXTS.tsv has a column `sentence`, as SST-2's dev.tsv. The arms take turns, each in a process:

hftool               `hftool predict` of a file with TEXTS.tsv so many times; without the time of the same with a single row
pipeline             pipeline("text-classification") of TEXTS.tsv, text by text, without loading
pipeline, batch 32   the same with batch_size=32

The labels of the pipeline and of hftool are compared before a time is printed.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from predict_growth import predict
from serving import save_result

PIPELINES = {"pipeline": 1, "pipeline, batch 32": 32}


def read_texts(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as handle:
        return [row["sentence"] for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)]


def write_texts(path: Path, texts: list[str]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["sentence"], *([text] for text in texts)])
    return path


def ask_pipeline(run: str, source: Path, batch_size: int) -> None:
    """Print the seconds of all texts and their labels."""
    from transformers import pipeline

    texts = read_texts(source)
    ask = pipeline("text-classification", run, device="cpu")
    start = time.perf_counter()
    answers = ask(texts, batch_size=batch_size)
    print(json.dumps([time.perf_counter() - start, [answer["label"] for answer in answers]]))


def measure_hftool(run: str, texts: list[str], times: int, folder: Path) -> tuple[float, list[str]]:
    """(texts a second, label of each text)."""
    start_up, _ = predict(run, write_texts(folder / "one.csv", texts[:1]))
    seconds, _ = predict(run, write_texts(folder / "all.csv", texts * times))
    lines = (folder / "all.jsonl").read_text(encoding="utf-8").splitlines()
    return len(lines) / (seconds - start_up), [json.loads(line)["label"] for line in lines[: len(texts)]]


def measure_pipeline(run: str, source: Path, name: str, count: int) -> tuple[float, list[str]]:
    command = [sys.executable, __file__, run, str(source), "--arm", name]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, labels = json.loads(output.splitlines()[-1])
    return count / seconds, labels


def compare(run: str, source: Path, times: int, rounds: int, folder: Path) -> dict[str, Any]:
    texts = read_texts(source)
    rates: dict[str, list[float]] = {name: [] for name in ("hftool", *PIPELINES)}
    agreement = 0.0
    for _ in range(rounds):
        rate, labels = measure_hftool(run, texts, times, folder)
        rates["hftool"].append(rate)
        for name in PIPELINES:
            rate, others = measure_pipeline(run, source, name, len(texts))
            rates[name].append(rate)
            agreement = sum(a == b for a, b in zip(labels, others, strict=True)) / len(texts)
        print({"agreement": agreement, **{name: round(values[-1], 1) for name, values in rates.items()}}, flush=True)
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "rows": len(texts) * times,
        "rounds": rounds,
        "agreement": agreement,
        "texts_per_second": {name: round(value, 1) for name, value in median.items()},
        "times": {name: round(median["hftool"] / median[name], 2) for name in PIPELINES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--times", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=PIPELINES, help=argparse.SUPPRESS)
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.arm:
        ask_pipeline(given.run, given.texts, PIPELINES[given.arm])
        return
    with tempfile.TemporaryDirectory() as folder:
        found = compare(given.run, given.texts, given.times, given.rounds, Path(folder))
    print(json.dumps(found, indent=1))
    save_result(given.out, found)


if __name__ == "__main__":
    main()
