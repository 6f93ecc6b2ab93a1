"""Training samples per second: hftool and transformers' Trainer with the same data, batch size and model.

    python benchmarks/train_classify.py TRAIN.tsv [--rounds 3] [--steps 100] [--out results/train_classify.json]
    python benchmarks/train_classify.py TRAIN.tsv --base [--length 128] --arm hftool --steps 6

Three arms alternate, each in a separate process: `hftool` with its defaults, `trainer` (its defaults, dynamic padding), and
`trainer-best` (bf16 and length grouping). The clock runs over one complete epoch,
from the start of its first step to the end of its last: both sort by length within windows of 50 steps, Trainer takes the
longest of a window first and hftool shuffles, so that part of an epoch would compare different batches. Loading, and hftool's
evaluation and saving at the end, are not included. Needs the extra [offline].

`--base` trains a model of BERT-base's shape with random weights instead of MiniLM, `--length N` joins rows to N tokens each.
Either takes minutes a round: `--arm` runs one arm once and prints its speed and, with `--length`, the rate of its operations
beside that of the fastest bf16 product.
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


def minilm_folder():
    from hftool.progress import silent
    from hftool.workflow.resolve import resolve_model

    return resolve_model("minilm", head="classify", offline=True, fallback=False, progress=silent).folder


def write_base(folder):
    """A folder with a model of BERT-base's shape, random weights and MiniLM's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    torch.manual_seed(SEED)
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_long(path, length, count, target):
    """A file of rows that are joined until each has as many words as `length`."""
    texts, labels = read_rows(path, 10**9)
    lines, start = ["sentence\tlabel"], 0
    while len(lines) <= count:
        end, words = start, 0
        while words < length:
            words += len(texts[end].split())
            end += 1
        lines.append(" ".join(texts[start:end]) + f"\t{labels[start]}")
        start = end
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(target)


def rate(folder, length, samples_per_second):
    """GFLOP/s of the products of training at a fixed length, and their share of the fastest of bf16 products here."""
    from transformers import AutoConfig

    from hftool.machine import speeds

    config = AutoConfig.from_pretrained(folder)
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    weights = layers * (4 * width**2 + 2 * width * inner)
    saved = (length - 1) * 2 * (2 * width**2 + 2 * width * inner)  # the last layer computes its first token only
    forward = length * (2 * weights + 4 * layers * length * width) - saved
    found = 3 * forward * samples_per_second / 1e9
    return {"gflops": found, "share_of_bf16_products": found / speeds("cpu")["bf16"]}


def run_hftool(path, steps, model="minilm", length=None):
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
            "max_length": length,
        }
        workflow.finetune(str(model), "sst2", config=knobs, out=Path(folder) / "run", offline=True, progress=progress)
    return clock.samples_per_second()


def read_rows(path, count):
    lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.rsplit("\t", 1) for line in lines]
    chosen = sorted(random.Random(f"limit-{SEED}").sample(range(len(rows)), min(count, len(rows))))
    return [rows[i][0] for i in chosen], [int(rows[i][1]) for i in chosen]


def encode(path, steps, tokenizer, length):
    texts, labels = read_rows(path, steps * BATCH)
    encoded = tokenizer(texts, truncation=True, max_length=length)
    columns = zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    return [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in columns]


def run_trainer(path, steps, best, folder=None, length=None):
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    folder = folder or minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    rows = encode(path, steps, tokenizer, length or 128)
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


def run_arm(arm, options):
    with tempfile.TemporaryDirectory() as temporary:
        path, steps, parent = options.train, options.steps, Path(temporary)
        folder = write_base(parent / "base") if options.base else None
        if options.length:
            path = write_long(path, options.length, steps * BATCH, parent / "train.tsv")
        if arm == "hftool":
            value = run_hftool(path, steps, folder or "minilm", options.length)
        else:
            value = run_trainer(path, steps, arm == "trainer-best", folder, options.length)
        found = {"samples_per_second": value}
        if options.length:
            found |= rate(folder or minilm_folder(), options.length, value)
    print(json.dumps(found))


def one_round(arm, options):
    command = [sys.executable, __file__, options.train, "--arm", arm, "--steps", str(options.steps)]
    command += ["--base"] if options.base else []
    command += ["--length", str(options.length)] if options.length else []
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
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--length", type=int)
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.arm:
        run_arm(options.arm, options)
        return
    from importlib.metadata import version

    from hftool.machine import this_machine

    speeds = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm in ARMS:
            speeds[arm].append(one_round(arm, options))
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
