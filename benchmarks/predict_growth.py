"""Time a row and peak memory of `hftool predict`, as the file grows.

    python benchmarks/predict_growth.py [RUN] [--rows 1000 10000 100000 1000000] [--out results/predict_growth.json]

RUN is a fine-tuned classifier; by default a random BERT of one layer with 32 dimensions, so that a million rows take a minute.
The rows are short texts, generated with a seed. Each file is predicted by a separate process. The time of a row is without
start-up, which is the time of a file of one row.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_rate import write_rows
from serving import save_result


def predict(run: str, source: Path) -> tuple[float, float]:
    """The seconds and the peak memory in MB of a process that predicts a file."""
    out = source.with_suffix(".jsonl")
    command = [sys.executable, "-m", "hftool", "predict", run, str(source), "--out", str(out), "--offline", "-q"]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def make_tiny(folder: Path) -> str:
    """A folder with a random classifier."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parent.parent / "hftool" / "assets" / "models" / "bert-mini")
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), id2label={0: "negative", 1: "positive"}, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def measure(run: str, counts: list[int], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    whole = folder / "rows.csv"
    write_rows(whole, max(counts))
    for count in (1, *counts):
        source = folder / f"{count}.csv"
        with open(whole, encoding="utf-8") as rows, open(source, "w", encoding="utf-8") as handle:
            handle.writelines(itertools.islice(rows, count + 1))
        seconds, memory = predict(run, source)
        found[str(count)] = {"seconds": round(seconds, 2), "peak_mb": round(memory)}
        if count > 1:
            found[str(count)]["ms_a_row"] = round(1000 * (seconds - found["1"]["seconds"]) / count, 4)
        print(count, found[str(count)], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measure(given.run or make_tiny(folder / "tiny"), given.rows, folder)
    save_result(given.out, {"rows": found})


if __name__ == "__main__":
    main()
