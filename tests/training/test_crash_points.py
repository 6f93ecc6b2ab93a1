"""A training process killed before any of its operations on the disk goes on as if nothing had been."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import film_rows, write_tsv
from support.crash_injection import KILLED, finish, leftovers, result, start

SAMPLE = 12


@pytest.fixture(scope="module")
def desk(tiny_bert, tmp_path_factory):
    """Files for a run that saves, evaluates and rotates in a second: dropout on, two batches a step, saves inside an epoch."""
    folder = tmp_path_factory.mktemp("crash")
    rows = film_rows(60)
    write_tsv(folder / "train.tsv", rows[:44])
    write_tsv(folder / "dev.tsv", rows[44:])
    return Desk(tiny_bert, folder)


class Desk:
    def __init__(self, model, folder):
        self.model, self.folder = model, folder
        self._whole = None

    def words(self, name, *more):
        files = ("--train", self.folder / "train.tsv", "--validation", self.folder / "dev.tsv", "--out", self.folder / name)
        knobs = ("--epochs", 2, "--batch-size", 4, "--accumulate", 2, "--save-steps", 4, "--keep", 1, "--lr", 0.001)
        return ["finetune", self.model, "sst2", *files, *knobs, "--log-steps", 3, "--offline", "-q", *more]

    def whole(self):
        """(what the run that nobody kills ends with, its operations on the disk)"""
        if self._whole is None:
            trace = self.folder / "operations"
            ended = finish(self.folder / "told-whole", self.words("whole"), trace=trace)
            assert ended.code == 0, ended.err
            operations = [tuple(line.split(" ", 1)) for line in trace.read_text(encoding="utf-8").splitlines()]
            self._whole = result(self.folder / "whole"), operations
        return self._whole

    def check(self, name, *, at, again=0):
        """Kill before this operation, and before that one of the run that goes on; then it must end like the whole one."""
        run = self.folder / name
        ended = finish(self.folder / f"told-{name}", self.words(name), at=at)
        assert ended.code == KILLED, (at, ended)
        if again:
            ended = finish(self.folder / f"told-{name}-2", self.words(name, "--resume"), at=again)
            assert ended.code == KILLED, (at, again, ended)
        ended = finish(self.folder / f"told-{name}-3", self.words(name, "--resume"))
        assert ended.code == 0, (at, again, ended.err)
        assert ended.err == "" and result(run) == self.whole()[0], (at, again)
        assert leftovers(run) == [], (at, again)
        shutil.rmtree(run)


def kinds(operations, root):
    """What each operation is, whatever it is called this time: ("rename", "checkpoints/.tmp-*")."""
    for operation, path in operations:
        parts = Path(path).relative_to(root).parts
        yield operation, "/".join(".part" if p.endswith(".part") else ".tmp" if p.startswith(".tmp") else p for p in parts)


def test_the_operations_that_are_watched_are_all_there(desk):
    """A save, rotation, the manifest, the model and the metrics: else the matrix below would prove too little."""
    seen = set(kinds(desk.whole()[1], desk.folder / "whole"))
    assert {
        ("mkdir", ""),
        ("write", ".part"),
        ("replace", ".part"),
        ("rename", ".part"),
        ("written", "log.jsonl"),
        ("mkdir", "checkpoints/.tmp"),
        ("write", "checkpoints/.tmp/model.safetensors"),
        ("written", "checkpoints/.tmp/optimizer.safetensors"),
        ("fsync", "checkpoints/.tmp/rng.safetensors"),
        ("write", "checkpoints/.tmp/MANIFEST.json"),
        ("rename", "checkpoints/.tmp"),
        ("link", "checkpoints/.tmp/model.safetensors"),  # what an evaluation found out is put into the checkpoint before it
        ("rename", "checkpoints/step-000006"),
        ("fsync", "checkpoints"),
        ("rename", "checkpoints/step-000004"),  # rotation: it loses its name first
        ("unlink", "checkpoints/.tmp/model.safetensors"),
        ("rmdir", "checkpoints/.tmp"),
    } <= seen


def sample(operations, root):
    """The middle one of each kind of operation, thinned out to SAMPLE of them from the first to the last."""
    places = {}
    for number, kind in enumerate(kinds(operations, root), 1):
        places.setdefault(kind, []).append(number)
    middle = sorted(numbers[len(numbers) // 2] for numbers in places.values())
    return [middle[i * (len(middle) - 1) // (SAMPLE - 1)] for i in range(SAMPLE)]


@pytest.mark.parametrize("number", range(SAMPLE))
def test_killed_at_a_point_of_the_sample_it_ends_bitwise_as_if_never_killed(desk, number):
    at = sample(desk.whole()[1], desk.folder / "whole")[number]
    desk.check(f"sample-{at}", at=at)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_any_point_it_ends_bitwise_as_if_never_killed(desk):
    for at in range(1, len(desk.whole()[1]) + 1):
        desk.check(f"all-{at}", at=at)


FIRST = ("write", "log.jsonl", 4)  # after the first save and an evaluation, with lines that must be taken back


def test_killed_again_while_it_resumes(desk):
    desk.check("twice", at=FIRST, again=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_again_at_any_point_of_the_run_that_goes_on(desk):
    trace = desk.folder / "operations-again"
    assert finish(desk.folder / "told-again", desk.words("again"), at=FIRST).code == KILLED
    assert finish(desk.folder / "told-again", desk.words("again", "--resume"), trace=trace).code == 0
    for again in range(1, len(trace.read_text(encoding="utf-8").splitlines()) + 1):
        desk.check(f"again-{again}", at=FIRST, again=again)


def can_inject(folder):
    """Why strace cannot end a process here; empty where it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    command = ["strace", "-f", "-o", folder / "try", "-e", "inject=fsync:signal=KILL:when=1"]
    code = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))"
    done = subprocess.run([*command, "python3", "-c", code, folder], capture_output=True, text=True)
    return "" if done.returncode == -signal.SIGKILL else f"strace may not trace here: {done.stderr.strip()[:100]}"


def killed_by_strace(desk, name, call, when):
    """Attach strace to a run that waits, let it kill inside the `when`-th call of this kind -> the exit code of the run."""
    go = desk.folder / f"go-{name}"
    going = start(desk.folder / f"told-{name}", desk.words(name), wait=go)
    command = ["strace", "-f", "-p", going.pid, "-o", "/dev/null", "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=KILL:when={when}"]
    tracer = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert "attached" in tracer.stderr.readline()
    go.touch()
    ended = going.end()
    tracer.communicate(timeout=30)
    return ended.code


def check_strace(desk, call, when):
    name = f"strace-{call}-{when}"
    if killed_by_strace(desk, name, call, when) == 0:
        return False
    ended = finish(desk.folder / f"told-{name}", desk.words(name, "--resume"))
    assert ended.code == 0, (call, when, ended.err)
    assert result(desk.folder / name) == desk.whole()[0], (call, when)
    assert leftovers(desk.folder / name) == [], (call, when)
    shutil.rmtree(desk.folder / name)
    return True


@pytest.mark.parametrize(("call", "when"), [("fsync", 17), pytest.param("rename", 6, marks=pytest.mark.slow), ("write", 25)])
def test_killed_inside_a_system_call_it_ends_bitwise_as_if_never_killed(desk, tmp_path, call, when):
    if trouble := can_inject(tmp_path):
        pytest.skip(trouble)
    assert check_strace(desk, call, when)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("call", "stride"), [("fsync", 2), ("rename", 1), ("write", 5)])
def test_killed_inside_many_system_calls(desk, tmp_path, call, stride):
    if trouble := can_inject(tmp_path):
        pytest.skip(trouble)
    when = 1
    while check_strace(desk, call, when):
        when += stride
    assert when > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_of_the_clock(desk):
    """As a machine that loses its power: kill -9 some time after the start, fifty times; the disk holds what it may hold."""
    import random
    import time

    rng = random.Random(5)
    for number in range(50):
        name = f"clock-{number}"
        going = start(desk.folder / f"told-{name}", desk.words(name))
        time.sleep(rng.uniform(0.05, 1.5))
        going.process.kill()  # nothing, where it has ended
        going.end()
        there = desk.folder / name / "checkpoints"
        assert len(list(there.glob("step-*"))) <= 3 if there.is_dir() else True  # one, the best, and the newest
        if not (desk.folder / name / "metrics.json").is_file():
            ended = finish(desk.folder / f"told-{name}", desk.words(name, "--resume"))
            assert ended.code == 0, ended.err
        assert result(desk.folder / name) == desk.whole()[0] and leftovers(desk.folder / name) == []
        assert json.loads((desk.folder / name / "metrics.json").read_text())["steps"] == 12
        shutil.rmtree(desk.folder / name)
