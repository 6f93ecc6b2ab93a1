"""Time a row and peak memory of `hftool predict`, as the file grows.

    python benchmarks/predict_growth.py RUN TEXTS.tsv [--rows 1000 10000 100000] [--out results/predict_growth.json]

RUN is a fine-tuned classifier; files of these numbers of rows are made of the first column of TEXTS, a table with a header,
repeated where it has fewer. Each file is predicted by a separate process. The time of a row is without start-up, which
is the time of a file of one row.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


def measure(run: str, texts: list[str], counts: list[int], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for count in (1, *counts):
        source = folder / f"{count}.csv"
        rows = itertools.islice(itertools.cycle(texts), count)
        source.write_text("".join(f"{json.dumps(row)}\n" for row in ("text", *rows)), encoding="utf-8")
        seconds, memory = predict(run, source)
        found[str(count)] = {"seconds": round(seconds, 2), "peak_mb": round(memory)}
        if count > 1:
            found[str(count)]["ms_a_row"] = round(1000 * (seconds - found["1"]["seconds"]) / count, 3)
        print(count, found[str(count)], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--out")
    given = parser.parse_args()
    lines = given.texts.read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[0].replace('"', "'").replace("\\", "/") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.run, texts, given.rows, Path(folder))
    save_result(given.out, {"rows": found})


if __name__ == "__main__":
    main()
