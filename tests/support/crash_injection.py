"""Training runs as real processes that are killed at a point that a test chooses.

A server that has imported everything forks one process for each run: the imports would take longer than the run.
`python crash_injection.py K WORDS` does a single run. K 0 kills nothing and prints the number of disk operations.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

from hftool.cli.app import main
from hftool.storage import atomic

KILLED = 9  # the exit code of a run that ended itself
NOT_REPEATED = ("seconds", "tokens_per_second", "seconds_saving")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["support.run_imports"])


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
class Outcome:
    """The exit code of a run, its stdout and its stderr."""

    code: int
    out: str
    err: str


@dataclass
class RunningProcess:
    """A run that has been started."""

    process: Any
    folder: Path

    @property
    def pid(self):
        return self.process.pid

    def wait(self, seconds=120):
        """Wait for the end; kill the process if it does not come."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s: {(self.folder / 'err').read_text()}")
        texts = [(self.folder / name).read_text(encoding="utf-8") for name in ("out", "err")]
        err = "".join(line for line in texts[1].splitlines(keepends=True) if "Writing model" not in line and line.strip())
        return Outcome(self.process.exitcode, texts[0], err)


def fork(target, *args):
    """Call `target(*args)` in a process -> the process. The server that forks it has tests/ on its path, for its imports."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
        forkserver.ensure_running()
    process = SERVER.Process(target=target, args=args)
    process.start()
    return process


def start(folder, words, *, at=0, change=None, environment=None, cwd=None, trace=None, wait=None):
    """Fork a run.

    folder: for its stdout and stderr. change: a function of `support.fault_injection` that breaks something before the run begins.
    wait: a file; the run begins when it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"at": at, "words": list(map(str, words)), "change": change, "environment": environment or {}, "trace": trace}
    plan |= {"cwd": str(cwd) if cwd else None, "wait": str(wait) if wait else None, "trace": str(trace) if trace else None}
    return RunningProcess(fork(_work, str(folder), plan), folder)


def finish(folder, words, **more):
    """Fork a run and wait for its end."""
    return start(folder, words, **more).wait()


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
        with plan["change"]() if plan["change"] else contextlib.nullcontext():
            code = run(plan["at"], plan["words"], plan["trace"]) if plan["at"] or plan["trace"] else main(plan["words"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def result(run):
    """All that a run has written, except times: two results are equal if and only if the runs are bitwise the same."""
    from hftool.storage.checksums import sha256

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
    """A digest of names and bits. Not of the file: safetensors writes the names of tied weights in a random order."""
    from safetensors.numpy import load_file

    whole = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        whole.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return whole.hexdigest()


def _repeated(document):
    return {key: value for key, value in document.items() if key not in NOT_REPEATED}


def leftovers(run):
    """Temporary files that a run should have removed, and damaged checkpoints; the lock stays."""
    return [path.relative_to(run).as_posix() for path in sorted(run.rglob(".*")) if path.name != ".lock"]


if __name__ == "__main__":
    first = sys.argv[1]
    sys.exit(run(int(first) if first.isdigit() else json.loads(first), sys.argv[2:]))
