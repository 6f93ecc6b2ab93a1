"""Training samples per second: hftool and transformers' Trainer with the same data, batch size and model.

    python benchmarks/train_classify.py TRAIN.tsv [--rounds 3] [--steps 100] [--out results/train_classify.json]

Three arms alternate, each in a separate process: `hftool` with its defaults, `trainer` (its defaults, dynamic padding), and
`trainer-best` (bf16 and length grouping). The clock runs over one complete epoch,
from the start of its first step to the end of its last: both sort by length within windows of 50 steps, Trainer takes the
longest of a window first and hftool shuffles, so that part of an epoch would compare different batches. Loading, and hftool's
evaluation and saving at the end, are not included. Needs the extra [offline].
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, SEED = 32, 0
ARMS = ("hftool", "trainer", "trainer-best")


class Clock:
    """Measures the seconds from the start of the first step to the end of the last."""

    def __init__(self):
        self.first = self.last = 0.0
        self.steps = 0

    def start(self):
        self.first = time.perf_counter()

    def tick(self, step):
        self.last, self.steps = time.perf_counter(), step

    def samples_per_second(self):
        return self.steps * BATCH / (self.last - self.first)


def run_hftool(path, steps):
    from hftool import workflow

    clock = Clock()

    def progress(event):
        if event.kind == "plan":
            clock.start()
        if event.kind == "step":
            clock.tick(event.values["step"])

    with tempfile.TemporaryDirectory() as folder:
        knobs = {
            "train": path,
            "validation": path,
            "max_steps": steps,
            "batch_size": BATCH,
            "seed": SEED,
            "allow_leak": True,
            "limit": steps * BATCH,
            "eval_steps": 10**6,
        }
        workflow.finetune("minilm", "sst2", config=knobs, out=Path(folder) / "run", offline=True, progress=progress)
    return clock.samples_per_second()


def read_rows(path, count):
    lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.rsplit("\t", 1) for line in lines]
    chosen = sorted(random.Random(f"limit-{SEED}").sample(range(len(rows)), min(count, len(rows))))
    return [rows[i][0] for i in chosen], [int(rows[i][1]) for i in chosen]


def encode(path, steps, tokenizer):
    texts, labels = read_rows(path, steps * BATCH)
    encoded = tokenizer(texts, truncation=True, max_length=128)
    columns = zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    return [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in columns]


def run_trainer(path, steps, best):
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from hftool.progress import silent
    from hftool.workflow.resolve import resolve_model

    folder = resolve_model("minilm", head="classify", offline=True, fallback=False, progress=silent).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    rows = encode(path, steps, tokenizer)
    torch.manual_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    clock = Clock()

    class Ticker(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            clock.start()

        def on_step_end(self, args, state, control, **kwargs):
            clock.tick(state.global_step)

    faster = {"bf16": True, "train_sampling_strategy": "group_by_length"} if best else {}
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            logging_steps=10**6,
            seed=SEED,
            **faster,
        )
        collator = DataCollatorWithPadding(tokenizer)
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[Ticker()]).train()
    return clock.samples_per_second()


def run_arm(arm, path, steps):
    value = run_hftool(path, steps) if arm == "hftool" else run_trainer(path, steps, arm == "trainer-best")
    print(json.dumps({"samples_per_second": value}))


def one_round(arm, path, steps):
    command = [sys.executable, __file__, path, "--arm", arm, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])["samples_per_second"]


def command_line():
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.arm:
        run_arm(options.arm, options.train, options.steps)
        return
    from importlib.metadata import version

    from hftool.machine import this_machine

    speeds = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm in ARMS:
            speeds[arm].append(one_round(arm, options.train, options.steps))
            print(f"round {number + 1} {arm:<14}{speeds[arm][-1]:8.1f} samples/s", flush=True)
    medians = {arm: statistics.median(values) for arm, values in speeds.items()}
    result = {
        "command": command_line(),
        "batch_size": BATCH,
        "steps": options.steps,
        "samples_per_second": speeds,
        "median": medians,
        "times_trainer": medians["hftool"] / medians["trainer"],
        "times_trainer_best": medians["hftool"] / medians["trainer-best"],
        "machine": this_machine().as_dict(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "hftool-recipes")},
    }
    print(
        f"hftool is {result['times_trainer']:.2f} times Trainer's defaults, {result['times_trainer_best']:.2f} times its best"
    )
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
