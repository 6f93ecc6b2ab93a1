"""MiniLM on MRPC in plain transformers code, with the settings, the rows and the number of updates of heads_minilm.py.

    python benchmarks/plain_mrpc.py DATA [--lr 5e-5 --epochs 4 --seeds 0 1 2]

DATA holds mrpc/train.jsonl and test.jsonl. For each seed the same rows are cut off for validation as hftool cuts, Trainer
trains in bf16 with its own shuffle and its mean loss, keeps the checkpoint with the best F1 on validation, and measures test;
then hftool does the same. Both go to benchmarks/results/plain_mrpc.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from hftool import workflow
from hftool.config import make_config
from hftool.machine import this_machine
from hftool.names import find_place, find_task_data
from hftool.progress import silent
from hftool.workflow.prepare import split, versions

RESULTS = Path(__file__).parent / "results" / "plain_mrpc.json"
MODEL = "minilm"


def files_of(data: Path) -> dict[str, str]:
    return {"train": str(data / "mrpc" / "train.jsonl"), "test": str(data / "mrpc" / "test.jsonl")}


def measure(prediction: Any) -> dict[str, float]:
    chosen = np.argmax(prediction.predictions, axis=-1)
    return {
        "f1": float(f1_score(prediction.label_ids, chosen)),
        "accuracy": float(accuracy_score(prediction.label_ids, chosen)),
    }


def settings(work: str, args: argparse.Namespace, seed: int) -> Any:
    """What hftool's knobs are called there."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=work,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=args.lr,
        num_train_epochs=args.epochs,
        weight_decay=0.01,
        warmup_steps=0.06,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="f1",
        seed=seed,
        use_cpu=True,
        bf16=True,
        report_to="none",
        disable_tqdm=True,
    )


def plain(files: dict[str, str], args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Trainer on the rows that hftool would train on -> its metrics on test."""
    import datasets
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, set_seed

    config = make_config({"model": MODEL, "task": "mrpc", "seed": seed, **files})
    tables = find_task_data("mrpc", files, encoding=None, offline=True, fallback=False, progress=silent)
    splits = split(config, tables, "classify")
    folder = find_place(MODEL, head="classify", offline=True, fallback=False, progress=silent).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()

    def encode(rows: list[dict[str, Any]]) -> Any:
        made = tokenizer([r["text"] for r in rows], [r["text_pair"] for r in rows], truncation=True, max_length=128)
        return datasets.Dataset.from_dict({**made, "labels": [r["label"] for r in rows]})

    parts = {name: encode(splits.get(name).rows) for name in ("train", "validation", "test")}
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as work:
        trainer = Trainer(
            model=model,
            args=settings(work, args, seed),
            train_dataset=parts["train"],
            eval_dataset=parts["validation"],
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=measure,
        )
        trainer.train()
        return measure(trainer.predict(parts["test"]))


def ours(files: dict[str, str], args: argparse.Namespace, seed: int) -> dict[str, float]:
    knobs = {"lr": args.lr, "epochs": args.epochs, "batch_size": args.batch_size, "seed": seed, "patience": 0}
    with tempfile.TemporaryDirectory() as work:
        made = workflow.finetune(MODEL, "mrpc", config={**knobs, **files}, out=Path(work) / "run", offline=True)
        return {name: made.metrics["test"][name] for name in ("f1", "accuracy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    runs = []
    for seed in args.seeds:
        files = files_of(args.data)
        runs.append({"seed": seed, "hftool": ours(files, args, seed), "transformers": plain(files, args, seed)})
        print(runs[-1], flush=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(word).name for word in sys.argv[1:])])
    knobs = {"lr": args.lr, "epochs": args.epochs, "batch_size": args.batch_size}
    made = {"command": command, "knobs": knobs, "runs": runs, "machine": this_machine().as_dict(), "versions": versions()}
    RESULTS.write_text(json.dumps([*known, made], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
