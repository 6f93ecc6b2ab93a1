"""Training killed at every point around its checkpoints, and gone on with: hftool beside transformers' Trainer.

    python benchmarks/crash_points.py [--stride N] [--out results/crash_points.json]

Each run is a process of its own that ends itself with `os._exit` at the k-th point, as SIGKILL would; then a second process
goes on with what lies there: `hftool finetune ... --resume`, and `train(resume_from_checkpoint=get_last_checkpoint(...))` of
Trainer. That must end without an error, and with weights, optimizer and losses that are bitwise those of the run that nobody
killed. Points of hftool: before each operation of its seam for the disk, and after each file written. Points of Trainer:
Python's audit events of its output folder (opening to write, rename, mkdir, remove, rmdir). The same tiny BERT with dropout,
rows, steps, accumulation and saves for both; a process that has imported everything forks all the others.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

STEPS, SAVE, BATCH, ACCUMULATE, KEEP, LR, SEED = 12, 4, 4, 2, 1, 1e-3, 0
ARMS = ("hftool", "trainer")
KILLED, PATIENCE = 9, 300
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
FAMILY = "transformers.models.bert"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("hftool.cli.app", "hftool.workflow", "accelerate", "pydantic", "sklearn.metrics", "transformers.trainer"),
        *(
            f"{FAMILY}.modeling_bert",
            f"{FAMILY}.tokenization_bert",
            "transformers.models.auto",
            "transformers.conversion_mapping",
        ),
    ]
)


def make_desk(folder):
    """A tiny BERT and its rows, for both arms."""
    import torch
    from transformers import BertConfig, BertModel

    from hftool.models import load_tokenizer, read_config
    from hftool.progress import silent
    from hftool.resolve import resolve_model

    place = resolve_model("bert-mini", head="fill", offline=True, fallback=False, progress=silent).folder
    tokenizer = load_tokenizer(place, read_config(place))
    torch.manual_seed(SEED)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **size)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    words = ["a", "warm", "funny", "film", "with", "the", "best", "cast", "of", "all", "and", "not", "one", "dull", "minute"]
    rows = [(" ".join(words[i % 5 : i % 5 + 3 + i % 11]) + f" {i}", i % 2) for i in range(48)]
    for name, part in (("train", rows[:32]), ("dev", rows[32:])):
        text = "".join(f"{text}\t{label}\n" for text, label in part)
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + text, encoding="utf-8")


def run_hftool(desk, out, at, points, resume):
    """-> the exit code. `points` is called with what each point is."""
    from hftool.cli.app import main
    from hftool.storage import atomic

    atomic.watch = lambda operation, path: points(f"{operation} {path.relative_to(out) if path.is_relative_to(out) else path}")
    knobs = {"batch_size": BATCH, "accumulate": ACCUMULATE, "save_steps": SAVE, "keep": KEEP, "lr": LR, "seed": SEED}
    knobs |= {"max_steps": STEPS, "log_steps": 1, "device": "cpu", "precision": "fp32", "patience": 0}
    words = ["finetune", str(desk / "model"), "sst2", "--train", str(desk / "train.tsv"), "--validation", str(desk / "dev.tsv")]
    words += [word for key, value in knobs.items() for word in ("--set", f"{key}={value}")]
    return main([*words, "--out", str(out), "--offline", "-q", *(["--resume"] if resume else [])])


def learnt_by_hftool(out):
    """What must be bitwise the same: weights, optimizer, losses."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = out / "checkpoints" / f"step-{STEPS:06d}"
    files = (out / "model" / "model.safetensors", last / "model.safetensors", last / "optimizer.safetensors")
    return {"files": [digest(path.read_bytes()) for path in files], "losses": [line.get("loss") for line in lines]}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def run_trainer(desk, out, at, points, resume):
    """-> 0; what was learnt is left beside the output folder, as only the process itself knows it."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )
    from transformers.trainer_utils import get_last_checkpoint

    set_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(desk / "model")
    model = AutoModelForSequenceClassification.from_pretrained(desk / "model", num_labels=2, dtype=torch.float32)
    lines = [line.split("\t") for line in (desk / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    rows = [{**tokenizer(text), "labels": int(label)} for text, label in lines]
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATE,
        max_steps=STEPS,
        save_steps=SAVE,
        save_total_limit=KEEP,
        learning_rate=LR,
        logging_steps=1,
        seed=SEED,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))
    sys.addaudithook(lambda event, values: audited(event, values, out, points))
    there = get_last_checkpoint(str(out)) if resume and out.is_dir() else None
    trainer.train(resume_from_checkpoint=there)
    trainer.save_model(str(out / "final"))
    state = trainer.optimizer.state_dict()["state"]
    tensors = [
        *model.state_dict().values(),
        *(v for row in state.values() for v in row.values() if isinstance(v, torch.Tensor)),
    ]
    learnt = {
        "files": [digest(tensor.detach().numpy().tobytes()) for tensor in tensors],
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
    }
    out.with_suffix(".learnt").write_text(json.dumps(learnt), encoding="utf-8")
    return 0


def audited(event, values, out, points):
    """Count an audit event if it changes something in the output folder."""
    if event not in EVENTS or not values or not isinstance(values[0], str | os.PathLike):
        return
    if event == "open" and not int(values[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    path = Path(values[0])
    if event in ("os.remove", "os.rmdir") and isinstance(values[1], int) and values[1] >= 0:  # as shutil.rmtree does it
        path = Path(f"/proc/self/fd/{values[1]}").readlink() / path
    if path.absolute().is_relative_to(out):
        points(f"{event} {path.absolute().relative_to(out)}")


def learnt_by_trainer(out):
    return json.loads(out.with_suffix(".learnt").read_text(encoding="utf-8"))


RUN = {"hftool": run_hftool, "trainer": run_trainer}
LEARNT = {"hftool": learnt_by_hftool, "trainer": learnt_by_trainer}


def child(arm, desk, out, at, resume, told):
    """One run, in a process of its own: its points are told, and before the `at`-th it ends."""
    import torch

    torch.set_num_threads(1)
    handle = os.open(told.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    done = 0
    lines = open(told, "w", encoding="utf-8")

    def points(what):
        nonlocal done
        done += 1
        print(what, file=lines, flush=True)
        if done == at:
            os._exit(KILLED)

    sys.exit(RUN[arm](desk, out, at, points, resume))


def one(arm, desk, out, told, *, at=0, resume=False):
    """-> the exit code of a run, and what its points were."""
    process = SERVER.Process(target=child, args=(arm, desk, out, at, resume, told))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode, told.read_text(encoding="utf-8").splitlines()


def last_words(told):
    lines = [
        line for line in told.with_suffix(".err").read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    return lines[-1][:200] if lines else "no words"


def measure(arm, desk, stride):
    """Kill at every `stride`-th point, go on, compare -> the figures of an arm."""
    told, whole = desk / "told", desk / "whole"
    code, points = one(arm, desk, whole, told)
    assert code == 0, last_words(told)
    wanted = LEARNT[arm](whole)
    figures = {"points": 0, "resumed": 0, "bitwise": 0, "failures": []}
    for at in range(1, len(points) + 1, stride):
        out = desk / f"{arm}-{at}"
        code, reached = one(arm, desk, out, told, at=at)
        assert code == KILLED, (at, code, last_words(told))
        code, _ = one(arm, desk, out, told, resume=True)
        same = code == 0 and LEARNT[arm](out) == wanted
        figures["points"] += 1
        figures["resumed"] += code == 0
        figures["bitwise"] += same
        if not same:
            why = "another end" if code == 0 else last_words(told)
            figures["failures"].append({"point": at, "before": reached[-1], "why": why.replace(str(out), "OUT")})
        shutil.rmtree(out, ignore_errors=True)
        if figures["points"] % 20 == 0:
            print(f"{arm}: {figures['points']} points, {figures['resumed']} resumed", file=sys.stderr, flush=True)
    shutil.rmtree(whole)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--out")
    options = parser.parse_args()
    from importlib.metadata import version

    from hftool.machine import this_machine

    started = time.perf_counter()
    arms = {}
    for arm in [options.arm] if options.arm else ARMS:
        with tempfile.TemporaryDirectory() as folder:
            make_desk(Path(folder))
            arms[arm] = figures = measure(arm, Path(folder), options.stride)
        said = f"{figures['resumed']} resume, {figures['bitwise']} of them bitwise equal"
        print(f"{arm:<8}killed at {figures['points']} points: {said}", flush=True)
    result = {
        "command": " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(word).name for word in sys.argv[1:])]),
        "steps": STEPS,
        "save_steps": SAVE,
        "keep": KEEP,
        "arms": arms,
        "seconds": round(time.perf_counter() - started),
        "machine": this_machine().as_dict(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "safetensors", "hftool-recipes")},
    }
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
