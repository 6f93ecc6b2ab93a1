"""Faults of disks, memory, clocks and people in real training processes: message, exit code, and what is kept."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from conftest import one_line
from hftool.errors import RunStopped
from hftool.storage.checksums import sha256
from hftool.training.checkpoints import FILES, MANIFEST, CheckpointManager
from hftool.training.divergence import backward_within_memory
from support import fault_injection
from support.crash_injection import KILLED, finish, leftovers, result
from support.trainer_factory import make_trainer
from support.workspace import Workspace

EVERY = [*FILES, MANIFEST]
STEP_9 = ("write", "log.jsonl", 10)  # the operation before which the line of step 9 is logged
OPTIONS = ("--epochs", 2, "--batch-size", 4, "--accumulate", 2, "--save-steps", 2, "--log-steps", 1, "-q")


@pytest.fixture(scope="module")
def workspace(tiny_bert, tmp_path_factory):
    """Runs of 12 steps, 6 an epoch, with a checkpoint at each second step."""
    return Workspace(tiny_bert, tmp_path_factory.mktemp("faults"), OPTIONS)


def is_reference(workspace, run):
    """The run has ended as if nothing had happened."""
    assert result(run) == workspace.reference()[0]
    return True


@pytest.fixture(scope="module")
def interrupted(workspace):
    """A run that was killed after step 9, with the checkpoints of steps 6, the best, and 8. Copy it before it is changed."""
    run = workspace.interrupted("cut", at=STEP_9)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000006", "step-000008"]
    return run


# damaged checkpoints


def one_bit(data):
    data[len(data) // 2] ^= 1


def zeroed(data):
    start = max(0, len(data) // 2 - 2048)
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))


def digests(folder):
    return {path: sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def damage(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    assert bytes(data) != path.read_bytes()
    path.write_bytes(data)


CASES = [(name, one_bit) for name in EVERY] + [(name, zeroed) for name in EVERY]
QUICK = [(FILES[1], zeroed), (MANIFEST, one_bit)]


@pytest.mark.parametrize(
    ("name", "change"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_checkpoint_is_named_set_aside_and_the_previous_one_used(workspace, interrupted, name, change):
    run = shutil.copytree(interrupted, workspace.folder / f"{change.__name__}-{name}")
    damage(run / "checkpoints" / "step-000008" / name, change)
    outcome = workspace.resume(run)
    notice = next(line for line in outcome.err.splitlines() if f"'{run}/checkpoints/step-000008' is damaged: " in line)
    assert name in notice or name == MANIFEST
    assert notice.endswith(": step-000006 is used") and "resuming after step 6 of 12" in outcome.err
    assert leftovers(run) == ["checkpoints/.bad-step-000008"] and is_reference(workspace, run)


def test_when_every_checkpoint_is_damaged_it_is_65(workspace, interrupted):
    run = shutil.copytree(interrupted, workspace.folder / "all-damaged")
    for folder in (run / "checkpoints").iterdir():
        damage(folder / "model.safetensors", one_bit)
    outcome = workspace.resume(run, code=65)
    assert "step-000008' is damaged" in outcome.err and "step-000006' is damaged" in outcome.err
    assert outcome.err.splitlines()[-1] == (
        f"hftool: every checkpoint in '{run}/checkpoints' is damaged. Start again with another --out"
    )
    assert not (run / "metrics.json").exists()


def test_without_the_best_checkpoint_an_intact_one_is_not_resumed(workspace, interrupted):
    """The weights that the run may have to end with are lost. Nothing that is intact is removed."""
    run = shutil.copytree(interrupted, workspace.folder / "best-damaged")
    damage(run / "checkpoints" / "step-000006" / "model.safetensors", one_bit)
    outcome = workspace.resume(run, code=65)
    before = digests(run / "checkpoints")
    outcome = workspace.resume(run, code=65)  # the same error the second time
    assert outcome.err.count("step-000006' is damaged: model.safetensors changed after it was written\n") == 1
    location = run / "checkpoints" / "step-000006"
    assert outcome.err.splitlines()[-1] == (
        f"hftool: the best checkpoint '{location}' is damaged; whole: step-000008. "
        f"Keep one of these: hftool save {run} --checkpoint step-000008 --out DIR"
    )
    assert digests(run / "checkpoints") == before


def test_a_best_checkpoint_damaged_during_the_run_is_65(workspace):
    run = workspace.folder / "best-damaged-meanwhile"
    outcome = workspace.start(
        run, "--eval-steps", 6, change=fault_injection.damaged_best, environment={"BREAKING_AT": "12"}
    ).wait()
    assert outcome.code == 65 and "the best checkpoint '" in one_line(outcome.err)
    again = workspace.resume(run, code=65)
    assert again.err.splitlines()[-1] == one_line(outcome.err)


def test_a_truncated_checkpoint_is_damaged(workspace, interrupted):
    run = shutil.copytree(interrupted, workspace.folder / "short")
    path = run / "checkpoints" / "step-000008" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "step-000008' is damaged: optimizer.safetensors" in workspace.resume(run).err and is_reference(workspace, run)


def filled_store(folder, best):
    """Checkpoints of a small model: step -> the best that it names."""
    net = torch.nn.Linear(4, 2)
    store, optimizer = CheckpointManager(folder, keep=9), torch.optim.AdamW(net.parameters())
    for step, named in best.items():
        store.save(net, optimizer, {"step": step, "best_step": named})
    return store, (net, optimizer)


def test_checkpoints_later_than_the_resumed_one_are_set_aside(tmp_path):
    """Step 6 is whole, its best is not: were it left, rotation would take it for the newest, and remove those of the run."""
    store, _ = filled_store(tmp_path / "checkpoints", {2: 2, 4: 4, 6: 4})
    damage(store.path(4) / "model.safetensors", one_bit)
    notices = []
    assert store.newest(notices.append) == store.path(2)
    assert store.steps() == [2] and len(notices) == 1 and notices[0].endswith(": step-000002 is used")
    assert sorted(path.name for path in store.folder.iterdir()) == [".bad-step-000004", ".bad-step-000006", "step-000002"]


def test_a_checkpoint_is_saved_beside_an_older_one_that_is_damaged(tmp_path):
    """Rotation reads which step older checkpoints name as the best: one that cannot be read must not end the run."""
    store, (net, optimizer) = filled_store(tmp_path / "checkpoints", {2: 2, 4: 2})
    (store.path(4) / "state.json").write_bytes(bytes(100))
    store.save(net, optimizer, {"step": 6, "best_step": 2})
    assert store.steps() == [2, 4, 6]
    assert store.newest(print) == store.path(6)


# signals


def wait_for(path, running):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert running.process.is_alive(), running.wait().err
        assert time.monotonic() < deadline
        time.sleep(0.01)


MOMENTS = range(10)


@pytest.mark.parametrize("number", [*MOMENTS[:1], *(pytest.param(n, marks=pytest.mark.slow) for n in MOMENTS[1:])])
def test_a_signal_at_a_random_moment_of_training(workspace, number):
    """TERM and INT in turn, some time after the first step: the step is finished and saved, and the run resumes bitwise."""
    run, kind = workspace.folder / f"signal-{number}", (signal.SIGTERM, signal.SIGINT)[number % 2]
    running = workspace.start(run, change=fault_injection.slow)
    wait_for(run / "log.jsonl", running)
    time.sleep(random.Random(f"moment-{number}").uniform(0, 0.6))
    os.kill(running.pid, kind)
    outcome = running.wait()
    if outcome.code != 0:  # else it was over before
        assert outcome.code == 128 + kind
        line = one_line(outcome.err)
        step = int(re.search(rf"^hftool: {kind.name}: stopped after step (\d+), checkpoint saved in '{run}'", line)[1])
        assert (run / "checkpoints" / f"step-{step:06d}" / MANIFEST).is_file()
        assert line.endswith(f"Resume: hftool resume {run}")
        workspace.resume(run)
    assert same_except_extra_checkpoint(workspace, run)


def same_except_extra_checkpoint(workspace, run):
    """A checkpoint more, at the signal, is all that may differ; rotation has taken it by the end, or keeps it in another's place."""
    found, wanted = result(run), workspace.reference()[0]
    common = [key for key in wanted if key in found]
    assert {"log", "metrics", "model", "step-000012/model.safetensors", "step-000012/rng.safetensors"} <= set(common)
    return all(found[key] == wanted[key] for key in common)


def hanging(workspace, run, *more):
    """A run that hangs in its step 6."""
    there = workspace.folder / f"hangs-{run.name}"
    running = workspace.start(
        run, *more, change=fault_injection.hanging, environment={"BREAKING_AT": "6", "BREAKING_TOUCHES": str(there)}
    )
    wait_for(there, running)
    return running


def test_a_second_signal_stops_at_once_and_leaves_the_older_checkpoint_whole(workspace):
    run = workspace.folder / "second"
    running = hanging(workspace, run)
    os.kill(running.pid, signal.SIGINT)
    time.sleep(0.3)
    assert running.process.is_alive()  # the first one waits for the step
    sent = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    outcome = running.wait()
    assert outcome.code == 143 and time.monotonic() - sent < 5
    assert "resuming after step 4 of 12" in workspace.resume(run).err and is_reference(workspace, run)


@pytest.mark.parametrize("grace", [pytest.param(0, marks=pytest.mark.slow), 0.3])
def test_a_step_that_hangs_is_cancelled_when_the_grace_is_over(workspace, grace):
    run = workspace.folder / f"grace-{grace}"
    running = hanging(workspace, run, "--grace", grace)
    sent = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    outcome = running.wait()
    assert "was not done within" in one_line(outcome.err)
    assert outcome.code == 143 and grace <= time.monotonic() - sent < grace + 5
    assert "resuming after step 4 of 12" in workspace.resume(run).err and is_reference(workspace, run)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("step", [6, 12])
def test_an_evaluation_longer_than_the_grace_loses_no_step(workspace, step):
    """Neither before the first evaluation nor at the very end; the resumed run begins with the evaluation."""
    run, there = workspace.folder / f"long-evaluation-{step}", workspace.folder / f"evaluates-{step}"
    environment = {"BREAKING_AT": str(step), "BREAKING_TOUCHES": str(there)}
    words = ("--grace", 0.3, "--save-steps", 100)
    running = workspace.start(run, *words, change=fault_injection.hanging_evaluation, environment=environment)
    wait_for(there, running)
    os.kill(running.pid, signal.SIGTERM)
    outcome = running.wait()
    assert outcome.code == 143
    assert one_line(outcome.err) == (
        "hftool: SIGTERM: the step or its evaluation was not done within 0.3 s (--grace): ended at once. "
        "Resume from the newest checkpoint: hftool resume RUN"
    )
    assert f"resuming after step {step} of 12" in workspace.resume(run).err and same_except_extra_checkpoint(workspace, run)


@pytest.mark.parametrize("step", [6, pytest.param(12, marks=pytest.mark.slow)])
def test_with_a_signal_pending_the_evaluation_is_left_to_the_resumed_run(workspace, step):
    run = workspace.folder / f"no-evaluation-{step}"
    outcome = workspace.start(run, change=fault_injection.signalled, environment={"BREAKING_AT": str(step)}).wait()
    assert outcome.code == 143 and f"stopped after step {step}, checkpoint saved in '{run}'" in one_line(outcome.err)
    assert log_of(run)[-1]["step"] == step and "evaluation" not in log_of(run)[-1]
    assert f"resuming after step {step} of 12" in workspace.resume(run).err
    assert is_reference(workspace, run)


# memory


@pytest.mark.parametrize(
    "change", [fault_injection.out_of_memory, pytest.param(fault_injection.memory_error, marks=pytest.mark.slow)]
)
def test_out_of_memory_halves_the_rows_at_once_and_keeps_the_step(workspace, change):
    """From step 5 on there is room for 2 rows; a run that is killed later and resumed ends bitwise like the one in one piece."""
    environment = {"BREAKING_AT": "5"}
    one, two = (workspace.folder / f"{change.__name__}-{piece}" for piece in ("one", "two"))
    words = [word for word in workspace.words(one) if word != "-q"]
    outcome = finish(workspace.output(one), words, change=change, environment=environment)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("out of memory: from step 5 on 2 rows at once\n") == outcome.err.count("out of memory") == 1
    wanted, found = workspace.reference()[0], result(one)
    assert [line["step"] for line in found["log"]] == [line["step"] for line in wanted["log"]]
    assert found["log"][:4] == wanted["log"][:4]
    assert found["log"][4]["loss"] == pytest.approx(wanted["log"][4]["loss"], rel=0.2)  # dropout is drawn for other rows
    assert found["step-000012/state.json"]["micro"] == 2
    workspace.interrupted(two, change=change, environment=environment, at=STEP_9)
    outcome = workspace.resume(two, change=change, environment=environment)
    assert "out of memory" not in outcome.err  # it is known
    assert result(two) == found


def test_out_of_memory_before_the_first_step_halves_the_rows_too(workspace):
    """The estimate of the time runs out of memory first, and leaves the reaction to the step."""
    run = workspace.folder / "out-at-once"
    words = [word for word in workspace.words(run) if word != "-q"]
    outcome = finish(workspace.output(run), words, change=fault_injection.out_of_memory, environment={"BREAKING_AT": "1"})
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("out of memory: from step 1 on 2 rows at once\n") == 1
    assert re.search(r", seed 0: about \d+ s, evaluations and saving aside$", outcome.err, re.MULTILINE)
    assert [line["step"] for line in log_of(run)] == [line["step"] for line in workspace.reference()[0]["log"]]


def test_no_memory_for_one_row_at_once_is_75(workspace):
    run = workspace.folder / "no-room-at-once"
    words = [word for word in workspace.words(run) if word != "-q"]
    outcome = finish(workspace.output(run), words, change=fault_injection.no_room_for_one, environment={"BREAKING_AT": "1"})
    assert outcome.code == 75 and "Traceback" not in outcome.err
    assert "there is no memory for one row at step 1" in outcome.err.splitlines()[-1]
    assert "seed 0: time unknown, as memory ran out" in outcome.err
    workspace.resume(run)
    assert [line["step"] for line in log_of(run)] == [line["step"] for line in workspace.reference()[0]["log"]]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["cuda", "python"])
def test_the_gradient_of_a_step_in_halves_is_that_of_the_whole_step(tiny_bert, tmp_path, error):
    """In eval mode, where nothing is dropped: fp32 rounding is all that differs."""
    created = []
    for name in ("whole", "halves"):
        torch.manual_seed(0)
        trainer = make_trainer(tiny_bert, tmp_path / name, batch_size=8, accumulate=2)
        trainer.model.eval()
        real = trainer.backward

        def backward(batches, real=real):
            if max(len(batch["input_ids"]) for batch in batches) > 2:
                real(batches[:1])  # what was added up until then must not stay
                raise error
            return real(batches)

        if name == "halves":
            trainer.backward = backward
        loss, count = backward_within_memory(trainer, *next(trainer._steps()))
        trainer.scale_and_clip(count)
        created.append((loss, count, {n: p.grad.clone() for n, p in trainer.model.named_parameters()}, trainer.micro))
    assert created[0][1] == created[1][1] and created[0][0] == pytest.approx(created[1][0], rel=1e-5)
    assert [micro for *_, micro in created] == [8, 2]
    for name, gradient in created[0][2].items():
        torch.testing.assert_close(gradient, created[1][2][name], rtol=1e-4, atol=1e-7, msg=name)


def test_no_memory_for_one_row_is_75_and_the_weights_are_kept(workspace):
    run = workspace.folder / "no-room"
    outcome = workspace.start(run, change=fault_injection.no_room_for_one, environment={"BREAKING_AT": "6"}).wait()
    assert outcome.code == 75
    line = one_line(outcome.err)
    assert "there is no memory for one row at step 6" in line and "checkpoints/step-000005" in line
    workspace.resume(run)
    found, wanted = result(run)["log"], workspace.reference()[0]["log"]
    assert found[:5] == wanted[:5]
    assert [list(line) for line in found] == [list(line) for line in wanted]  # the rows of step 6 are not passed over
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    assert result(run)["step-000012/state.json"]["micro"] == 1  # it is known how much room there is


def test_a_run_killed_while_a_step_is_saved_again_is_resumed(workspace):
    """Step 6 was saved; with no memory for one row of step 7 it is saved again, and killed when neither folder has its name."""
    run = workspace.folder / "no-room-killed"
    words = workspace.words(run, "--log-steps", 100)
    how = {"change": fault_injection.no_room_for_one, "environment": {"BREAKING_AT": "7"}}
    trace = workspace.folder / "operations-no-room"
    outcome = finish(workspace.output(run), words, trace=trace, **how)
    assert outcome.code == 75, outcome.err
    operations = [line.split(" ", 1) for line in trace.read_text().splitlines()]
    number = max(n for n, (kind, path) in enumerate(operations, 1) if kind == "rename" and path.endswith("/step-000006"))
    assert operations[number][0] == "rename" and "/.tmp-6-" in operations[number][1]
    shutil.rmtree(run)
    outcome = finish(workspace.output(run), words, at=number + 1, **how)
    assert outcome.code == KILLED and not (run / "checkpoints" / "step-000006").exists()
    assert "resuming after step 6 of 12" in workspace.resume(run).err and leftovers(run) == []
    assert result(run)["model"] == workspace.reference()[0]["model"]


def test_the_error_for_one_row_has_a_hint(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", batch_size=1)

    def backward(batches):
        raise MemoryError

    trainer.backward = backward
    with pytest.raises(RunStopped, match=r"no memory for one row at step 1; .*\. Try a smaller --max-length"):
        trainer.train()


# disks


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 3 MB."""
    location = tmp_path / "disk"
    location.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small tmpfs")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", location], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield location
    subprocess.run(["umount", "-l", location], check=True)


@pytest.mark.parametrize("at", [7, pytest.param(2, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)])
def test_a_full_disk_is_74_and_the_run_resumes_bitwise_when_there_is_room(workspace, small_disk, at):
    run, ballast = small_disk / "run", small_disk / "ballast"
    environment = {"BREAKING_AT": str(at), "BREAKING_TOUCHES": str(ballast)}
    outcome = workspace.start(run, "--log-steps", 100, change=fault_injection.full_disk, environment=environment).wait()
    assert outcome.code == 74
    line = one_line(outcome.err)
    needed, free = map(int, re.search(r"No space left on device.* \((\d+) bytes needed, (\d+) free\)", line).groups())
    assert free < needed and "older ones are whole" in line and line.endswith(f"then: hftool resume {run}")
    assert list((run / "checkpoints").glob(".tmp*")) == []
    ballast.unlink()
    workspace.resume(run)
    assert leftovers(run) == [] and json.loads((run / "metrics.json").read_text())["steps"] == 12
    assert result(run)["model"] == workspace.reference()[0]["model"]
    assert result(run)["step-000012/model.safetensors"] == workspace.reference()[0]["step-000012/model.safetensors"]


def test_a_log_that_cannot_be_written_is_74_too(workspace, small_disk):
    run, ballast = small_disk / "run", small_disk / "ballast"
    environment = {"BREAKING_AT": "8", "BREAKING_TOUCHES": str(ballast)}
    with open(small_disk / "filler", "wb") as filler:
        filler.write(bytes(4096))
    outcome = workspace.start(run, "--save-steps", 1, change=fault_injection.full_disk, environment=environment).wait()
    assert outcome.code == 74 and "No space left on device" in one_line(outcome.err)
    ballast.unlink()
    workspace.resume(run)
    assert same_except_extra_checkpoint(workspace, run)


def test_a_read_only_disk_is_named(workspace, small_disk):
    run = small_disk / "run"
    workspace.interrupted(run, at=STEP_9)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = finish(workspace.output(run), ["resume", run, "--offline", "-q"])
    assert outcome.code in (73, 74), outcome.err
    assert "Read-only file system" in one_line(outcome.err)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    workspace.resume(run)
    assert is_reference(workspace, run)


@pytest.mark.parametrize("free", [1000, 1_000_000])
def test_free_space_is_checked_before_the_first_step(workspace, cli, monkeypatch, tmp_path, free):
    """74 when one checkpoint and the model do not fit, a notice when not all that is to be kept does."""
    monkeypatch.setattr("hftool.workflow._finetune.free_bytes", lambda folder: free)
    run = tmp_path / "run"
    words = [word for word in workspace.words(run, "--max-steps", 1, "--keep", 9) if word != "-q"]
    code, _, err = cli(*words)
    message = f"bytes are needed for checkpoints and model in '{run}', {free} are free"
    if free == 1000:
        assert code == 74 and message in err.splitlines()[-1] and "Free some space, or choose another --out" in err
        assert not (run / "checkpoints").exists() and not (run / "log.jsonl").exists()
    else:
        assert code == 0 and re.search(rf"^\d+ {re.escape(message)}: the run may end with a full disk$", err, re.MULTILINE)


@pytest.mark.parametrize("at", [12, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 17, 23, 30, 41))])
def test_a_disk_that_fails_is_74_and_keeps_the_checkpoints(workspace, at):
    run = workspace.folder / f"eio-{at}"
    outcome = workspace.start(run, change=fault_injection.failing_disk, environment={"BREAKING_AT": str(at)}).wait()
    assert outcome.code == 74 and "Input/output error" in one_line(outcome.err)
    outcome = workspace.start(run, "--resume").wait()
    assert outcome.code == 0, outcome.err
    assert is_reference(workspace, run) and leftovers(run) == []


def test_an_output_that_is_a_file_or_lies_in_one_is_73(workspace, cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        for more in ((), ("--resume",)):
            code, _, err = cli(*workspace.words(out, *more))
            assert code == 73 and str(out) in one_line(err)
    assert (tmp_path / "file").read_text() == "mine"


# two processes at once


def test_a_second_process_on_a_run_is_73_and_the_lock_of_a_dead_one_is_taken_over(workspace, cli):
    run = workspace.folder / "locked"
    running = hanging(workspace, run)
    for words in (["resume", run, "--offline", "-q"], workspace.words(run, "--resume")):
        code, out, err = cli(*words)
        assert code == 73 and out == ""
        assert one_line(err) == f"hftool: the run folder '{run}' is locked by process {running.pid}"
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert (run / ".lock").read_text() == str(running.pid)
    workspace.resume(run)
    assert is_reference(workspace, run)


# clocks and environment


def test_a_clock_that_jumps_changes_nothing(workspace):
    """The newest checkpoint is the one of the highest step, whatever the times of the files say."""
    run = workspace.folder / "clock"
    workspace.interrupted(run, at=STEP_9, change=fault_injection.leaping_clock)
    for path in (run / "checkpoints" / "step-000008").iterdir():
        os.utime(path, (0, 0))
    os.utime(run / "checkpoints" / "step-000008", (0, 0))
    outcome = workspace.resume(run, change=fault_injection.leaping_clock)
    assert "resuming after step 8 of 12" in outcome.err and is_reference(workspace, run)
    assert json.loads((run / "metrics.json").read_text())["seconds"] < 3600


def test_workers_folder_and_hash_seed_change_nothing(workspace, tmp_path):
    """its own process, as the seed of hashes is drawn when Python starts."""
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "OMP_NUM_THREADS": "1", "HOSTNAME": "another"}
    words = map(str, ["-m", "hftool", *workspace.words("here", "--workers", 2, "--out", "here")])
    done = subprocess.run([sys.executable, *words], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert is_reference(workspace, tmp_path / "elsewhere" / "here")
