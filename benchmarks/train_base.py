"""Training samples per second of a model of BERT-base's shape with random weights, beside transformers' Trainer.

    python benchmarks/train_base.py TRAIN.tsv [--length 128] [--steps 6] [--rounds 1]
                                    [--against trainer trainer-best] [--out results/train_base.json]

TRAIN.tsv is SST-2's: `sentence` and `label`. By default the rows have the lengths of SST-2; with `--length N` rows are joined
until each has N words, so that all are truncated to N tokens. The arms are those of train_classify.py. Each arm trains
twice, and only the second time is measured. The file of the result holds both lengths: a run replaces its own.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from serving import command_line, save_result

NAMES = {"trainer-best": "trainer bf16, grouped by length", "trainer": "trainer"}
LEARNING_RATE = 1e-6  # at more the loss of random weights rises first, and arms whose loss rises are refused
BATCH, SEED, ALL = 32, 0, 10**9


def write_base(folder: Path, length: int) -> None:
    """A folder with a model of BERT-base's shape, random weights, and MiniLM's tokenizer with this limit on tokens."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from hftool import workflow

    tokenizer = workflow.load("minilm", offline=True).tokenizer
    torch.manual_seed(SEED)
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.model_max_length = length
    tokenizer.save_pretrained(folder)


def write_long(path: Path, length: int, count: int, target: Path) -> None:
    """A file of rows that are joined until each has as many words as `length`."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    lines, words, texts = ["sentence\tlabel"], 0, []
    for text, label in rows:
        texts.append(text.strip())
        words += len(text.split())
        if words >= length:
            lines.append(" ".join(texts) + f"\t{label}")
            words, texts = 0, []
        if len(lines) > count:
            break
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def stored(path: str | None) -> dict[str, Any]:
    """The results of a file by length, if there is one."""
    if path is None or not Path(path).exists():
        return {}
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))["lengths"]
    return found


def main() -> None:
    from hftool.benchmark.benchmark import run_benchmark
    from hftool.benchmark.job import Job

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("--length", type=int)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--against", nargs="*", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, file = Path(temporary) / "base", given.train
        write_base(folder, given.length or 512)
        if given.length:
            file = Path(temporary) / "long.tsv"
            write_long(given.train, given.length, given.steps * BATCH, file)
        more = {"limit": given.steps * BATCH, "batch_size": BATCH, "rounds": given.rounds, "seconds": ALL, "offline": True}
        peers = {"against": ("trainer",) if given.against else (), "only": [NAMES[name] for name in given.against]}
        more["learning_rate"] = LEARNING_RATE
        job = Job("train", str(folder), file=str(file), **peers, **more)
        found = run_benchmark(job, progress=lambda event: print(event.text, flush=True))
    print(json.dumps(found["arms"], indent=1))
    facts = {"command": command_line(), "steps": given.steps, **found, "model": "BERT-base's shape"}
    lengths = stored(given.out) | {str(given.length or "sst2"): facts}
    save_result(given.out, {"lengths": lengths})


if __name__ == "__main__":
    main()
