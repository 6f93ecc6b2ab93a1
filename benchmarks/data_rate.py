"""Rows a second that `finetune` and `predict` read and encode, beside the bare tokenizers library on the same texts.

    python benchmarks/data_rate.py MODEL [--rows 1000000] [--rounds 3] [--kind csv jsonl] [--out results/data_rate.json]

The rows are short texts of two classes, generated with a seed. The arms take turns:

raw       tokenizers' encode_batch_fast over the texts in memory, all cores
plain     the file by the standard library (csv or json) into a list
finetune  from the file to features: reading, columns, labels, splits, checks, encoding; without importing or loading a model
predict   from the file to features, in chunks as `predict` reads it, without a forward pass

`memory` is the growth of resident memory over the rows of the file, in bytes a row, for finetune's features and rows together,
and in MB for predict, which streams.
"""

import argparse
import csv
import itertools
import json
import random
import statistics
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from serving import save_result

from hftool.data.readers.tables import read_table, stream
from hftool.data.rows import map_row
from hftool.data.splits import build_splits
from hftool.heads import get_head
from hftool.machine import collection_paused
from hftool.workflow import load
from hftool.workflow.plan import SplitOptions

COMMON = "the a of and to in is it that this film movie with for as was but on not be are by an one at all has so"
RAW = 16384  # texts of a batch of the bare library; all at once is no faster and takes 2 KB a row
CHUNK = 4096  # rows of a chunk of `predict`


def write_rows(path: Path, count: int) -> None:
    """Write rows of 3 to 14 words and one of two labels."""
    rng, common = random.Random(0), COMMON.split()
    rare = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(20_000)]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        if path.suffix == ".csv":
            table.writerow(["text", "label"])
        for _ in range(count):
            words = [rng.choice(common) if rng.random() < 0.6 else rng.choice(rare) for _ in range(rng.randint(3, 14))]
            text, label = " ".join(words), rng.choice(["negative", "positive"])
            if path.suffix == ".csv":
                table.writerow([text, label])
            else:
                handle.write(json.dumps({"text": text, "label": label}) + "\n")


def encode_raw(backend: Any, texts: list[str]) -> None:
    for start in range(0, len(texts), RAW):
        backend.encode_batch_fast(texts[start : start + RAW])


def read_plainly(path: Path) -> list[Any]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle)) if path.suffix == ".csv" else [json.loads(line) for line in handle]


def encode_for_training(path: Path, head: Any) -> Any:
    """The rows and features of a file, as `finetune` makes them."""
    options = SplitOptions(head.row_schemas, {}, {}, (), (), limit=None, seed=0, validation_share=0.1, allow_leak=False)
    splits = build_splits({"train": read_table(path, "train")}, options)
    with collection_paused():
        return splits, [head.encode(part.rows) for part in splits.parts().values()]


def encode_for_prediction(path: Path, head: Any) -> None:
    """The features of a file, chunk by chunk."""
    _, records = stream(path, rejected=[])
    while chunk := list(itertools.islice(records, CHUNK)):
        rows = [map_row(record.row, {"text": "text"})[0] for record in chunk]
        with collection_paused():
            head.encode(rows)


def measured(arms: dict[str, Callable[[], Any]], rows: int, rounds: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in arms}
    memory: dict[str, int] = {}
    process = psutil.Process()
    for _ in range(rounds):
        for name, arm in arms.items():
            before, start = process.memory_info().rss, time.perf_counter()
            held = arm()
            rates[name].append(rows / (time.perf_counter() - start))
            memory.setdefault(name, process.memory_info().rss - before)
            del held
        print({name: f"{rate[-1]:,.0f}" for name, rate in rates.items()}, flush=True)
    return {
        "rows_per_second": {name: round(statistics.median(rate)) for name, rate in rates.items()},
        "share_of_raw": {
            name: round(statistics.median([a / b for a, b in zip(rates[name], rates["raw"], strict=True)]), 3)
            for name in ("finetune", "predict")
        },
        "memory": {"finetune_bytes_a_row": round(memory["finetune"] / rows), "predict_mb": round(memory["predict"] / 1e6)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", nargs="*", default=["csv", "jsonl"], choices=("csv", "jsonl"))
    parser.add_argument("--out")
    given = parser.parse_args()
    loaded = load(given.model, head="classify", offline=True)
    head: Any = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    backend, found = loaded.tokenizer.backend_tokenizer, {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in given.kind:
            path = Path(folder) / f"rows.{kind}"
            write_rows(path, given.rows)
            texts = [row["text"] for row in read_table(path, "train").rows]
            arms: dict[str, Callable[[], Any]] = {
                "predict": lambda path=path: encode_for_prediction(path, head),
                "finetune": lambda path=path: encode_for_training(path, head),
                "raw": lambda texts=texts: encode_raw(backend, texts),
                "plain": lambda path=path: read_plainly(path),
            }
            found[kind] = measured(arms, given.rows, given.rounds)
    print(json.dumps(found, indent=1))
    save_result(given.out, {"rows": given.rows, "rounds": given.rounds, "files": found})


if __name__ == "__main__":
    main()
