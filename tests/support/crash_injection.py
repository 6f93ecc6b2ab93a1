"""Runs of training as real processes that end themselves, or are ended, at a moment that a test chooses.

A process that has imported everything forks one run for each call: the import would take longer than the run.
`python crash_injection.py K WORDS` does one alone. K 0 ends nothing and prints how many operations on the disk there were.
"""

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.cli.app import main
from hftool.storage import atomic

KILLED = 9  # the exit code of a run that ended itself
NOT_REPEATED = ("seconds", "tokens_per_second", "seconds_saving")
FAMILIES = ("bert", "roberta", "xlm_roberta", "electra", "gpt2", "t5")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["hftool.cli.app", "hftool.workflow", "accelerate", "pydantic", "jinja2", "sklearn.metrics", "transformers.models.auto"]
    + [f"transformers.models.{name}.{kind}_{name}" for name in FAMILIES for kind in ("modeling", "tokenization")]
    + ["transformers.convert_slow_tokenizer", "transformers.conversion_mapping", "seqeval.metrics"]
)


def run(at, words, trace=None):
    """The command line with these words, killed before an operation on the disk -> its exit code.

    at: the number of the operation, counted from 1; or (operation, name of the file, how many of these, counted from 1). trace: a
    file that gets a line for each operation.
    """
    done = alike = 0
    lines = open(trace, "a", encoding="utf-8") if trace else None

    def count(operation, path):
        nonlocal done, alike
        done += 1
        if lines:
            print(operation, path, file=lines, flush=True)
        if isinstance(at, int):
            here = done == at
        else:
            alike += (operation, path.name) == tuple(at[:2])
            here = (operation, path.name, alike) == tuple(at)
        if here:
            os._exit(KILLED)  # no handler, no flush, no atexit: as SIGKILL

    atomic.watch = count
    code = main(words)
    print(f"operations {done}", file=sys.stderr)
    return code


@dataclass
class Ended:
    """How a run ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Going:
    """A run that goes on."""

    process: Any
    folder: Path

    @property
    def pid(self):
        return self.process.pid

    def end(self, seconds=120):
        """Wait for the end."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still there after {seconds} s: {(self.folder / 'err').read_text()}")
        texts = [(self.folder / name).read_text(encoding="utf-8") for name in ("out", "err")]
        err = "".join(line for line in texts[1].splitlines(keepends=True) if "Writing model" not in line and line.strip())
        return Ended(self.process.exitcode, texts[0], err)


def start(folder, words, *, at=0, change=None, environment=None, cwd=None, trace=None, wait=None):
    """Fork a run. folder: for its stdout and stderr. change: "module:function" that is called before it, to break something.
    wait: a file; the run begins when it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"at": at, "words": list(map(str, words)), "change": change, "environment": environment or {}, "trace": trace}
    plan |= {"cwd": str(cwd) if cwd else None, "wait": str(wait) if wait else None, "trace": str(trace) if trace else None}
    process = SERVER.Process(target=_work, args=(str(folder), plan))
    process.start()
    return Going(process, folder)


def finish(folder, words, **more):
    """Fork a run and wait for its end."""
    return start(folder, words, **more).end()


def _work(folder, plan):
    import torch

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(plan["environment"])
    if plan["cwd"]:
        os.chdir(plan["cwd"])
    torch.set_num_threads(1)
    while plan["wait"] and not os.path.exists(plan["wait"]):
        time.sleep(0.01)
    code = 1
    try:
        with contextlib.ExitStack() as stack:
            if plan["change"]:
                module, _, name = plan["change"].partition(":")
                stack.enter_context(getattr(importlib.import_module(module), name)())
            code = run(plan["at"], plan["words"], plan["trace"]) if plan["at"] or plan["trace"] else main(plan["words"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def result(run):
    """All that a run learnt and wrote, but for times: two of them are equal if and only if they are bitwise alike."""
    from hftool.safety import sha256

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found = {"log": [_repeated(line) for line in lines], "metrics": _repeated(metrics)}
    found["model"] = sha256(run / "model" / "model.safetensors")
    for folder in sorted((run / "checkpoints").glob("step-*")):
        found |= {f"{folder.name}/{path.name}": _tensors(path) for path in folder.glob("*.safetensors")}
        found[f"{folder.name}/state.json"] = _repeated(json.loads((folder / "state.json").read_text(encoding="utf-8")))
    for values in found.values():
        if isinstance(values, dict):
            values.pop("log_bytes", None), values.pop("model", None)  # lines have times; files of the model have versions
    return found


def _tensors(path):
    """A digest of names and bits. Not of the file: safetensors writes the names of tied weights in an order of chance."""
    from safetensors.numpy import load_file

    whole = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        whole.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return whole.hexdigest()


def _repeated(document):
    return {key: value for key, value in document.items() if key not in NOT_REPEATED}


def leftovers(run):
    """What a run should have tidied away, and damaged checkpoints; the lock stays."""
    return [path.relative_to(run).as_posix() for path in sorted(run.rglob(".*")) if path.name != ".lock"]


if __name__ == "__main__":
    first = sys.argv[1]
    sys.exit(run(int(first) if first.isdigit() else json.loads(first), sys.argv[2:]))
