"""Training killed at every point around its checkpoints and then resumed: hftool and transformers' Trainer.

    python benchmarks/crash_points.py [--stride N] [--out results/crash_points.json]

Each run is a separate process that ends itself with `os._exit` at the k-th point, as SIGKILL would; a second process then
resumes from the files on disk: `hftool finetune ... --resume`, and `train(resume_from_checkpoint=get_last_checkpoint(...))` of
Trainer. It must end without an error, with weights, optimizer state and losses bitwise equal to those of an uninterrupted
run. Points of hftool: before each disk operation (storage/atomic.py), and after each file written. Points of Trainer:
Python's audit events in its output folder (open for writing, rename, mkdir, remove, rmdir). The same tiny BERT with dropout,
rows, steps, accumulation and save interval for both; one process that has imported everything forks the others.
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


def create_workspace(folder):
    """Creates a tiny BERT and its rows, for both arms."""
    import torch
    from transformers import BertConfig, BertModel

    from hftool.models import load_tokenizer, read_model_config
    from hftool.progress import silent
    from hftool.workflow.resolve import resolve_model

    model_folder = resolve_model("bert-mini", head="fill", offline=True, fallback=False, progress=silent).folder
    tokenizer = load_tokenizer(model_folder, read_model_config(model_folder))
    torch.manual_seed(SEED)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **size)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    arguments_ = [
        "a",
        "warm",
        "funny",
        "film",
        "with",
        "the",
        "best",
        "cast",
        "of",
        "all",
        "and",
        "not",
        "one",
        "dull",
        "minute",
    ]
    rows = [(" ".join(arguments_[i % 5 : i % 5 + 3 + i % 11]) + f" {i}", i % 2) for i in range(48)]
    for name, part in (("train", rows[:32]), ("dev", rows[32:])):
        text = "".join(f"{text}\t{label}\n" for text, label in part)
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + text, encoding="utf-8")


def run_hftool(workspace, out, at, points, resume):
    """Runs hftool and returns its exit code; `points` is called with a description of each point."""
    from hftool.cli.app import main
    from hftool.storage import atomic

    atomic.watch = lambda operation, path: points(f"{operation} {path.relative_to(out) if path.is_relative_to(out) else path}")
    knobs = {"batch_size": BATCH, "accumulate": ACCUMULATE, "save_steps": SAVE, "keep": KEEP, "lr": LR, "seed": SEED}
    knobs |= {"max_steps": STEPS, "log_steps": 1, "device": "cpu", "precision": "fp32", "patience": 0}
    arguments_ = [
        "finetune",
        str(workspace / "model"),
        "sst2",
        "--train",
        str(workspace / "train.tsv"),
        "--validation",
        str(workspace / "dev.tsv"),
    ]
    arguments_ += [argument for key, value in knobs.items() for argument in ("--set", f"{key}={value}")]
    return main([*arguments_, "--out", str(out), "--offline", "-q", *(["--resume"] if resume else [])])


def state_of_hftool(out):
    """The state to compare bitwise: weights, optimizer, losses."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = out / "checkpoints" / f"step-{STEPS:06d}"
    files = (out / "model" / "model.safetensors", last / "model.safetensors", last / "optimizer.safetensors")
    return {"files": [digest(path.read_bytes()) for path in files], "losses": [line.get("loss") for line in lines]}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def run_trainer(workspace, out, at, points, resume):
    """Runs Trainer and returns 0; writes its final state beside the output folder, since only this process has it."""
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
    tokenizer = AutoTokenizer.from_pretrained(workspace / "model")
    model = AutoModelForSequenceClassification.from_pretrained(workspace / "model", num_labels=2, dtype=torch.float32)
    lines = [line.split("\t") for line in (workspace / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]]
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
    state_digests = {
        "files": [digest(tensor.detach().numpy().tobytes()) for tensor in tensors],
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
    }
    out.with_suffix(".state").write_text(json.dumps(state_digests), encoding="utf-8")
    return 0


def audited(event, values, out, points):
    """Count an audit event if it changes something in the output folder."""
    if event not in EVENTS or not values or not isinstance(values[0], str | os.PathLike):
        return
    if event == "open" and not int(values[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    path = Path(values[0])
    if (
        event in ("os.remove", "os.rmdir") and isinstance(values[1], int) and values[1] >= 0
    ):  # paths relative to a directory, as in shutil.rmtree
        path = Path(f"/proc/self/fd/{values[1]}").readlink() / path
    if path.absolute().is_relative_to(out):
        points(f"{event} {path.absolute().relative_to(out)}")


def state_of_trainer(out):
    return json.loads(out.with_suffix(".state").read_text(encoding="utf-8"))


RUN = {"hftool": run_hftool, "trainer": run_trainer}
STATE_OF = {"hftool": state_of_hftool, "trainer": state_of_trainer}


def child(arm, workspace, out, at, resume, point_log):
    """One run in a separate process: its points are logged, and it ends before the `at`-th."""
    import torch

    torch.set_num_threads(1)
    handle = os.open(point_log.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    done = 0
    lines = open(point_log, "w", encoding="utf-8")

    def points(description):
        nonlocal done
        done += 1
        print(description, file=lines, flush=True)
        if done == at:
            os._exit(KILLED)

    sys.exit(RUN[arm](workspace, out, at, points, resume))


def one(arm, workspace, out, point_log, *, at=0, resume=False):
    """The exit code of a run and the descriptions of its points."""
    process = SERVER.Process(target=child, args=(arm, workspace, out, at, resume, point_log))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode, point_log.read_text(encoding="utf-8").splitlines()


def last_error_line(point_log):
    lines = [
        line
        for line in point_log.with_suffix(".err").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    return lines[-1][:200] if lines else "no output"


def measure(arm, workspace, stride):
    """Kills at every `stride`-th point, resumes and compares; returns the results of an arm."""
    point_log, uninterrupted = workspace / "points.log", workspace / "uninterrupted"
    code, points = one(arm, workspace, uninterrupted, point_log)
    assert code == 0, last_error_line(point_log)
    expected = STATE_OF[arm](uninterrupted)
    figures = {"points": 0, "resumed": 0, "bitwise": 0, "failures": []}
    for at in range(1, len(points) + 1, stride):
        out = workspace / f"{arm}-{at}"
        code, reached = one(arm, workspace, out, point_log, at=at)
        assert code == KILLED, (at, code, last_error_line(point_log))
        code, _ = one(arm, workspace, out, point_log, resume=True)
        is_equal = code == 0 and STATE_OF[arm](out) == expected
        figures["points"] += 1
        figures["resumed"] += code == 0
        figures["bitwise"] += is_equal
        if not is_equal:
            reason = "different result" if code == 0 else last_error_line(point_log)
            figures["failures"].append({"point": at, "before": reached[-1], "why": reason.replace(str(out), "OUT")})
        shutil.rmtree(out, ignore_errors=True)
        if figures["points"] % 20 == 0:
            print(f"{arm}: {figures['points']} points, {figures['resumed']} resumed", file=sys.stderr, flush=True)
    shutil.rmtree(uninterrupted)
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
            create_workspace(Path(folder))
            arms[arm] = figures = measure(arm, Path(folder), options.stride)
        summary = f"{figures['resumed']} resume, {figures['bitwise']} of them bitwise equal"
        print(f"{arm:<8}killed at {figures['points']} points: {summary}", flush=True)
    result = {
        "command": " ".join(
            ["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])]
        ),
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
