"""MiniLM fine-tuned with plain transformers code, with the rows, settings and number of updates of heads_minilm.py.

    python benchmarks/plain_classify.py DATA mrpc|chnsenticorp_htl [--seed 0] [--work DIR]

This shows whether a bar that heads_minilm.py missed is reachable. The splits are those of hftool. Trainer trains in bf16,
with its shuffling and its mean loss, keeps the best checkpoint on validation, and evaluates test. Its batches are
random: with group_by_length, which orders each group from long to short, it learned nothing on the hotel
reviews (stored in the results under that name). With --work it resumes from the newest checkpoint in that folder. The result
is added to benchmarks/results/plain_classify.json, beside that of hftool from heads_minilm.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from heads_minilm import JOBS, MODEL, split_hotel_reviews
from heads_minilm import RESULTS as HFTOOL_RESULTS
from sklearn.metrics import accuracy_score, f1_score

from hftool.config import make_config
from hftool.machine import this_machine
from hftool.models.head_config import package_versions
from hftool.progress import silent
from hftool.workflow.plan import split
from hftool.workflow.resolve import resolve_model, resolve_task

RESULTS = Path(__file__).parent / "results" / "plain_classify.json"
MAX_LENGTH = {"mrpc": 128}  # max_length in tokens, for jobs that do not set it


def measure(prediction: Any) -> dict[str, float]:
    chosen = np.argmax(prediction.predictions, axis=-1)
    return {
        "f1": float(f1_score(prediction.label_ids, chosen)),
        "accuracy": float(accuracy_score(prediction.label_ids, chosen)),
    }


def arguments(work: str, knobs: Mapping[str, Any], metric: str, seed: int) -> Any:
    """TrainingArguments equivalent to the settings of hftool."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=work,
        per_device_train_batch_size=knobs["batch_size"] * knobs.get("accumulate", 1),
        per_device_eval_batch_size=64,
        learning_rate=knobs["lr"],
        num_train_epochs=knobs["epochs"],
        weight_decay=0.01,
        warmup_steps=0.06,
        train_sampling_strategy="random",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        seed=seed,
        use_cpu=True,
        bf16=True,
        report_to="none",
        disable_tqdm=True,
    )


def plain(name: str, files: dict[str, str], seed: int, work: str) -> dict[str, Any]:
    """Trains with Trainer on the rows of hftool; returns validation and test metrics and the number of updates."""
    import datasets
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, set_seed

    job = JOBS[name]
    knobs, metric = job["knobs"], job["measure"][1]
    columns = knobs.get("columns", {})
    config = make_config({"model": MODEL, "task": job["task"], "seed": seed, "columns": columns, **files})
    tables = resolve_task(job["task"], files, encoding=None, offline=True, fallback=False, progress=silent)
    splits = split(config, tables, "classify")
    folder = resolve_model(MODEL, head="classify", offline=True, fallback=False, progress=silent).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    max_length = knobs.get("max_length") or MAX_LENGTH[name]

    def encode(rows: list[dict[str, Any]]) -> Any:
        pairs = [[row[role] for row in rows] for role in ("text", "text_pair") if role in rows[0]]
        results = tokenizer(*pairs, truncation=True, max_length=max_length)
        return datasets.Dataset.from_dict({**results, "labels": [row["label"] for row in rows]})

    parts = {part: encode(splits.get(part).rows) for part in ("train", "validation", "test")}
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    trainer = Trainer(
        model=model,
        args=arguments(work, knobs, metric, seed),
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=measure,
    )
    steps = trainer.train(resume_from_checkpoint=any(Path(work).glob("checkpoint-*"))).global_step
    best = int(Path(trainer.state.best_model_checkpoint).name.rpartition("-")[2])
    results = {part: measure(trainer.predict(parts[part])) for part in ("validation", "test")}
    return {"steps": steps, "best_step": best, **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("job", choices=["mrpc", "chnsenticorp_htl"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help="folder for checkpoints, from which a run resumes; default: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as parts, tempfile.TemporaryDirectory() as work:
        folder = args.data
        if args.job == "chnsenticorp_htl":
            folder = Path(parts)
            split_hotel_reviews(args.data, folder)
        files = {part: str(folder / path) for part, path in JOBS[args.job]["files"].items()}
        results = plain(args.job, files, args.seed, args.work or work)
    hftool_result = json.loads(HFTOOL_RESULTS.read_text(encoding="utf-8"))[args.job]
    reported = {key: hftool_result[key] for key in ("knobs", "metric", "bar", "steps", "best_step", "measured", "value")}
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])
    facts = {"command": command, "machine": this_machine().as_dict(), "versions": package_versions()}
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[args.job] = {"seed": args.seed, "transformers": results, "hftool": reported, **facts}
    RESULTS.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(f"{args.job}: transformers {results['test'][reported['metric']]:.4f}, hftool {reported['value']:.4f}", flush=True)


if __name__ == "__main__":
    main()
