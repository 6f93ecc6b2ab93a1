"""Rows a second of reading an export of spans, beside `datasets` with an alignment in `map`.

    python benchmarks/spans_rate.py [--mb 1000] [--rounds 3] [--arms hftool datasets] [--out results/spans_rate.json]

The export is Prodigy's JSON Lines of this size, generated with a seed: texts of 15 to 70 words, some of them marked as one of
three types. The arms take turns, each in a separate process, without the time of its imports:

hftool    the reader that finetune uses: words and tags of each row, row by row
datasets  load_dataset("json"), then map: token ids, and a tag for each token by char_to_token; caches in a new folder

`peak_mb` is the peak memory of the process.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KINDS = ("PER", "ORG", "LOC")
ROOT = Path(__file__).parent.parent


def write_spans(path: Path, size: int) -> int:
    """Write an export of at least so many bytes -> its rows."""
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 9))) for _ in range(20_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    count = bytes_so_far = 0
    with open(path, "w", encoding="utf-8") as handle:
        while bytes_so_far < size:
            spans, position = [], 0
            chosen = rng.choices(words, cum_weights=weights, k=rng.randint(15, 70))
            for word in chosen:
                if rng.random() < 0.1:
                    spans.append({"start": position, "end": position + len(word), "label": rng.choice(KINDS)})
                position += len(word) + 1
            row = {"text": " ".join(chosen) + ".", "spans": spans, "answer": "accept", "_input_hash": count}
            count, bytes_so_far = count + 1, bytes_so_far + handle.write(json.dumps(row) + "\n")
    return count


def read_by_hftool(path: Path, folder: Path) -> tuple[int, float]:
    """The rows of an export, and the seconds that they take."""
    from hftool.data.readers.tables import stream

    start = time.perf_counter()
    rows = sum(len(record.row["tags"]) > 0 for record in stream(path, rejected=[], targets=True)[1])
    return rows, time.perf_counter() - start


def read_by_datasets(path: Path, folder: Path) -> tuple[int, float]:
    import datasets
    import transformers

    ids = {kind: 1 + 2 * i for i, kind in enumerate(KINDS)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(ROOT / "hftool" / "assets" / "models" / "bert-mini")

    def _aligned(row: dict[str, Any]) -> Any:
        encoded = tokenizer(row["text"])
        tags = [0] * len(encoded["input_ids"])
        for span in row["spans"]:
            first, last = encoded.char_to_token(span["start"]), encoded.char_to_token(span["end"] - 1)
            tags[first] = ids[span["label"]]
            tags[first + 1 : last + 1] = [ids[span["label"]] + 1] * (last - first)
        encoded["labels"] = tags
        return encoded

    datasets.disable_progress_bars()
    start = time.perf_counter()
    data = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder))
    return len(data.map(_aligned)), time.perf_counter() - start


ARMS = {"hftool": read_by_hftool, "datasets": read_by_datasets}


def measure(arm: str, path: Path) -> tuple[float, float]:
    """The rows a second and the peak memory in MB of a process."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, __file__, "--arm", arm, str(path), folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arm} failed with {status}")
    rows, seconds = json.loads(output.splitlines()[-1])
    return rows / seconds, usage.ru_maxrss / 1024


def compare(path: Path, arms: list[str], rounds: int) -> dict[str, Any]:
    found: dict[str, list[tuple[float, float]]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, values in found.items():
            values.append(measure(arm, path))
            print(f"{arm}: {values[-1][0]:,.0f} rows/s, {values[-1][1]:.0f} MB", flush=True)
    result: dict[str, Any] = {"rows_per_second": {}, "peak_mb": {}}
    for arm, values in found.items():
        result["rows_per_second"][arm] = round(statistics.median(rate for rate, _ in values))
        result["peak_mb"][arm] = round(max(memory for _, memory in values))
    if len(arms) == len(ARMS):
        pairs = zip(found["hftool"], found["datasets"], strict=True)
        result["times"] = round(statistics.median(rate / other for (rate, _), (other, _) in pairs), 2)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--arm"]:
        print(json.dumps(ARMS[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spans.jsonl"
        rows = write_spans(path, given.mb * 1_000_000)
        found = compare(path, given.arms, given.rounds)
    print(json.dumps(found, indent=1))
    if given.out:
        from serving import save_result

        save_result(given.out, {"mb": given.mb, "rows": rows, "rounds": given.rounds, **found})


if __name__ == "__main__":
    main()
