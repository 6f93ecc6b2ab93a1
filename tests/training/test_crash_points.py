"""A training process that is killed before any of its disk operations resumes as if nothing had happened."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.crash_injection import leftovers, result
from support.workspace import Workspace

SAMPLE = 5
OPTIONS = ("--epochs", 2, "--batch-size", 4, "--accumulate", 2, "--save-steps", 4, "--keep", 1, "--log-steps", 3, "-q")


@pytest.fixture(scope="module")
def workspace(tiny_bert, tmp_path_factory):
    """Runs that save, evaluate and rotate in a second: dropout on, two batches a step, saves inside an epoch."""
    return Workspace(tiny_bert, tmp_path_factory.mktemp("crash"), OPTIONS)


def check(workspace, name, *, at, again=0):
    """Kill before this operation, and before operation `again` of the resumed run; the end must be that of the reference."""
    run = workspace.interrupted(name, at=at)
    if again:
        workspace.interrupted(name, "--resume", at=again)
    outcome = workspace.start(name, "--resume").wait()
    assert outcome.code == 0, (at, again, outcome.err)
    assert outcome.err == "" and result(run) == workspace.reference()[0], (at, again)
    assert leftovers(run) == [], (at, again)
    shutil.rmtree(run)


def kinds(operations, root):
    """Each operation without the random part of names: ("rename", "checkpoints/.tmp")."""
    for operation, path in operations:
        parts = Path(path).relative_to(root).parts
        yield operation, "/".join(".part" if p.endswith(".part") else ".tmp" if p.startswith(".tmp") else p for p in parts)


def test_all_kinds_of_operations_are_watched(workspace):
    """A save, rotation, the manifest, the model and the metrics: otherwise the matrix below would prove too little."""
    seen = set(kinds(workspace.reference()[1], workspace.folder / "reference"))
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
        ("link", "checkpoints/.tmp/model.safetensors"),  # the result of an evaluation is added to the checkpoint before it
        ("rename", "checkpoints/step-000006"),
        ("fsync", "checkpoints"),
        ("rename", "checkpoints/step-000004"),  # rotation renames it first
        ("unlink", "checkpoints/.tmp/model.safetensors"),
        ("rmdir", "checkpoints/.tmp"),
    } <= seen


def sample(operations, root):
    """The middle one of each kind of operation, thinned out to SAMPLE of them from the first to the last."""
    numbers_of = {}
    for number, kind in enumerate(kinds(operations, root), 1):
        numbers_of.setdefault(kind, []).append(number)
    middle = sorted(numbers[len(numbers) // 2] for numbers in numbers_of.values())
    return [middle[i * (len(middle) - 1) // (SAMPLE - 1)] for i in range(SAMPLE)]


@pytest.mark.parametrize("number", range(SAMPLE))
def test_killed_at_a_sampled_operation_a_run_ends_bitwise_as_if_never_killed(workspace, number):
    at = sample(workspace.reference()[1], workspace.folder / "reference")[number]
    check(workspace, f"sample-{at}", at=at)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_any_operation_a_run_ends_bitwise_as_if_never_killed(workspace):
    for at in range(1, len(workspace.reference()[1]) + 1):
        check(workspace, f"all-{at}", at=at)


FIRST = ("write", "log.jsonl", 4)  # after the first save and an evaluation, with lines that must be removed again


def test_killed_again_while_it_resumes(workspace):
    check(workspace, "twice", at=FIRST, again=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_resumed_run_killed_at_any_operation_ends_bitwise_as_if_never_killed(workspace):
    trace = workspace.folder / "operations-again"
    workspace.interrupted("again", at=FIRST)
    assert workspace.start("again", "--resume", trace=trace).wait().code == 0
    for again in range(1, len(trace.read_text(encoding="utf-8").splitlines()) + 1):
        check(workspace, f"again-{again}", at=FIRST, again=again)


def can_inject(folder):
    """Why strace cannot kill a process here; empty where it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    command = ["strace", "-f", "-o", folder / "try", "-e", "inject=fsync:signal=KILL:when=1"]
    code = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))"
    done = subprocess.run([*command, "python3", "-c", code, folder], capture_output=True, text=True)
    return "" if done.returncode == -signal.SIGKILL else f"strace may not trace here: {done.stderr.strip()[:100]}"


def killed_by_strace(workspace, name, call, when):
    """Attach strace to a run that waits, let it kill inside the `when`-th call of this kind -> the exit code of the run."""
    go = workspace.folder / f"go-{name}"
    run = workspace.start(name, wait=go)
    command = ["strace", "-f", "-p", run.pid, "-o", "/dev/null", "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=KILL:when={when}"]
    tracer = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert "attached" in tracer.stderr.readline()
    go.touch()
    outcome = run.wait()
    tracer.communicate(timeout=30)
    return outcome.code


def check_strace(workspace, call, when):
    name = f"strace-{call}-{when}"
    if killed_by_strace(workspace, name, call, when) == 0:
        return False
    outcome = workspace.start(name, "--resume").wait()
    assert outcome.code == 0, (call, when, outcome.err)
    assert result(workspace.folder / name) == workspace.reference()[0], (call, when)
    assert leftovers(workspace.folder / name) == [], (call, when)
    shutil.rmtree(workspace.folder / name)
    return True


@pytest.mark.parametrize(
    ("call", "when"), [("fsync", 17), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("rename", 6), ("write", 25)))]
)
def test_killed_inside_a_system_call_a_run_ends_bitwise_as_if_never_killed(workspace, tmp_path, call, when):
    if trouble := can_inject(tmp_path):
        pytest.skip(trouble)
    assert check_strace(workspace, call, when)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("call", "stride"), [("fsync", 2), ("rename", 1), ("write", 5)])
def test_killed_inside_many_system_calls(workspace, tmp_path, call, stride):
    if trouble := can_inject(tmp_path):
        pytest.skip(trouble)
    when = 1
    while check_strace(workspace, call, when):
        when += stride
    assert when > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_moments_of_the_clock(workspace):
    """Like a loss of power: kill -9 some time after the start, fifty times; no more checkpoints are kept than allowed."""
    import random
    import time

    rng = random.Random(5)
    for number in range(50):
        name = f"clock-{number}"
        run = workspace.start(name)
        time.sleep(rng.uniform(0.05, 1.5))
        run.process.kill()  # does nothing if the run has ended
        run.wait()
        there = workspace.folder / name / "checkpoints"
        assert len(list(there.glob("step-*"))) <= 3 if there.is_dir() else True  # one, the best, and the newest
        if not (workspace.folder / name / "metrics.json").is_file():
            outcome = workspace.start(name, "--resume").wait()
            assert outcome.code == 0, outcome.err
        assert result(workspace.folder / name) == workspace.reference()[0] and leftovers(workspace.folder / name) == []
        assert json.loads((workspace.folder / name / "metrics.json").read_text())["steps"] == 12
        shutil.rmtree(workspace.folder / name)
