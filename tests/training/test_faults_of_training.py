"""Faults of disks, memory, clocks and people, in real processes that train: what is said, with which code, and what is kept."""

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

from conftest import film_rows, one_line, write_tsv
from hftool.errors import RunStopped
from hftool.storage.checksums import sha256
from hftool.training.checkpoints import FILES, MANIFEST, CheckpointManager
from hftool.training.divergence import backward_within_memory
from support.command_words import last_wins
from support.crash_injection import KILLED, finish, leftovers, result, start
from support.trainer_factory import make_trainer

EVERY = [*FILES, MANIFEST]


@pytest.fixture(scope="module")
def desk(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    rows = film_rows(60)
    write_tsv(folder / "train.tsv", rows[:44])
    write_tsv(folder / "dev.tsv", rows[44:])
    return Desk(tiny_bert, folder)


class Desk:
    """Runs of 12 steps, 6 an epoch, on 44 rows; checkpoints at each second step."""

    def __init__(self, model, folder):
        self.model, self.folder = model, folder
        self._whole = None

    def words(self, out, *more):
        files = ("--train", self.folder / "train.tsv", "--validation", self.folder / "dev.tsv", "--out", out)
        knobs = ("--epochs", 2, "--batch-size", 4, "--accumulate", 2, "--save-steps", 2, "--lr", 0.001, "--log-steps", 1)
        return last_wins(["finetune", self.model, "sst2", *files, *knobs, "--offline", "-q", *more])

    def told(self, out):
        return self.folder / f"told-{out.name}"

    def begin(self, out, *more, **how):
        return start(self.told(out), self.words(out, *more), **how)

    def again(self, out, *, code=0, **how):
        ended = finish(self.told(out), ["resume", out, "--offline"], **how)
        assert ended.code == code, ended.err
        return ended

    def whole(self):
        if self._whole is None:
            out = self.folder / "whole"
            ended = self.begin(out).end()
            assert ended.code == 0, ended.err
            self._whole = result(out)
        return self._whole

    def is_whole(self, out):
        """The run has ended as if nothing had been."""
        assert result(out) == self.whole()
        return True


@pytest.fixture(scope="module")
def cut(desk):
    """A run that was killed after step 9, with the checkpoints of steps 6 (the best), 6 and 8. Copy it before it is changed."""
    run = desk.folder / "cut"
    assert desk.begin(run, at=("write", "log.jsonl", 10)).end().code == KILLED
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000006", "step-000008"]
    return run


# a disk that lies


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
OFTEN = [(FILES[0], one_bit), (FILES[1], zeroed), (FILES[3], one_bit), (MANIFEST, one_bit)]


@pytest.mark.parametrize(
    ("name", "change"),
    [case if case in OFTEN else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_checkpoint_is_said_set_aside_and_the_one_before_it_is_used(desk, cut, name, change):
    run = shutil.copytree(cut, desk.folder / f"{change.__name__}-{name}")
    damage(run / "checkpoints" / "step-000008" / name, change)
    ended = desk.again(run)
    said = next(line for line in ended.err.splitlines() if f"'{run}/checkpoints/step-000008' is damaged: " in line)
    assert name in said or name == MANIFEST
    assert said.endswith(": step-000006 is used") and "resuming after step 6 of 12" in ended.err
    assert leftovers(run) == ["checkpoints/.bad-step-000008"] and desk.is_whole(run)


def test_when_every_checkpoint_is_damaged_it_is_65(desk, cut):
    run = shutil.copytree(cut, desk.folder / "all-damaged")
    for folder in (run / "checkpoints").iterdir():
        damage(folder / "model.safetensors", one_bit)
    ended = desk.again(run, code=65)
    assert "step-000008' is damaged" in ended.err and "step-000006' is damaged" in ended.err
    assert ended.err.splitlines()[-1] == (
        f"hftool: every checkpoint in '{run}/checkpoints' is damaged. Start again with another --out"
    )
    assert not (run / "metrics.json").exists()


def test_without_its_best_a_whole_checkpoint_is_not_gone_on_with(desk, cut):
    """The end would have to be another one: the weights that the run is to end with are gone. Nothing that is whole is lost."""
    run = shutil.copytree(cut, desk.folder / "best-damaged")
    damage(run / "checkpoints" / "step-000006" / "model.safetensors", one_bit)
    ended = desk.again(run, code=65)
    before = digests(run / "checkpoints")
    ended = desk.again(run, code=65)  # a second time it says the same
    assert ended.err.count("step-000006' is damaged: model.safetensors changed after it was written\n") == 1
    place = run / "checkpoints" / "step-000006"
    assert ended.err.splitlines()[-1] == (
        f"hftool: the best checkpoint '{place}' is damaged; whole: step-000008. "
        f"Keep one of these: hftool save {run} --checkpoint step-000008 --out DIR"
    )
    assert digests(run / "checkpoints") == before


def test_a_best_that_is_damaged_while_the_run_goes_on_is_65(desk):
    run = desk.folder / "best-damaged-meanwhile"
    ended = desk.begin(run, "--eval-steps", 6, change="fault_injection:damaged_best", environment={"BREAKING_AT": "12"}).end()
    assert ended.code == 65 and "the best checkpoint '" in one_line(ended.err)
    again = desk.again(run, code=65)
    assert again.err.splitlines()[-1] == one_line(ended.err)


def test_a_checkpoint_that_was_cut_short_is_damaged(desk, cut):
    run = shutil.copytree(cut, desk.folder / "short")
    path = run / "checkpoints" / "step-000008" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "step-000008' is damaged: optimizer.safetensors" in desk.again(run).err and desk.is_whole(run)


def filled_store(folder, best):
    """Checkpoints of a small model: step -> the best that it names."""
    net = torch.nn.Linear(4, 2)
    store, optimizer = CheckpointManager(folder, keep=9), torch.optim.AdamW(net.parameters())
    for step, named in best.items():
        store.save(net, optimizer, {"step": step, "best_step": named})
    return store, (net, optimizer)


def test_what_is_of_a_later_step_than_the_one_gone_on_with_is_set_aside(tmp_path):
    """Step 6 is whole, its best is not: were it left, rotation would take it for the newest, and remove those of the run."""
    store, _ = filled_store(tmp_path / "checkpoints", {2: 2, 4: 4, 6: 4})
    damage(store.path(4) / "model.safetensors", one_bit)
    said = []
    assert store.newest(said.append) == store.path(2)
    assert store.steps() == [2] and len(said) == 1 and said[0].endswith(": step-000002 is used")
    assert sorted(path.name for path in store.folder.iterdir()) == [".bad-step-000004", ".bad-step-000006", "step-000002"]


def test_a_whole_checkpoint_is_saved_beside_an_older_one_that_is_damaged(tmp_path):
    """Rotation reads what older ones name as the best: one that cannot be read must not end a run that is well."""
    store, (net, optimizer) = filled_store(tmp_path / "checkpoints", {2: 2, 4: 2})
    (store.path(4) / "state.json").write_bytes(bytes(100))
    store.save(net, optimizer, {"step": 6, "best_step": 2})
    assert store.steps() == [2, 4, 6]
    assert store.newest(print) == store.path(6)


# signals


def wait_for(path, going):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert going.process.is_alive(), going.end().err
        assert time.monotonic() < deadline
        time.sleep(0.01)


MOMENTS = range(10)


@pytest.mark.parametrize("number", [*MOMENTS[:2], *(pytest.param(n, marks=pytest.mark.slow) for n in MOMENTS[2:])])
def test_a_signal_at_a_random_moment_of_training(desk, number):
    """TERM and INT in turn, some time after the first step: the step is finished and saved, and the run goes on bitwise."""
    run, kind = desk.folder / f"signal-{number}", (signal.SIGTERM, signal.SIGINT)[number % 2]
    going = desk.begin(run, change="fault_injection:slow")
    wait_for(run / "log.jsonl", going)
    time.sleep(random.Random(f"moment-{number}").uniform(0, 0.6))
    os.kill(going.pid, kind)
    ended = going.end()
    if ended.code != 0:  # else it was over before
        assert ended.code == 128 + kind
        line = one_line(ended.err)
        step = int(re.search(rf"^hftool: {kind.name}: stopped after step (\d+), checkpoint saved in '{run}'", line)[1])
        assert (run / "checkpoints" / f"step-{step:06d}" / MANIFEST).is_file()
        assert line.endswith(f"Go on: hftool resume {run}")
        desk.again(run)
    assert same_but_for_times_of_saving(desk, run)


def same_but_for_times_of_saving(desk, run):
    """A checkpoint more, at the signal, is all that may differ; rotation has taken it by the end, or keeps it in another's place."""
    found, wanted = result(run), desk.whole()
    common = [key for key in wanted if key in found]
    assert {"log", "metrics", "model", "step-000012/model.safetensors", "step-000012/rng.safetensors"} <= set(common)
    return all(found[key] == wanted[key] for key in common)


def hanging(desk, run, *more):
    """A run that hangs in its step 6."""
    there = desk.folder / f"hangs-{run.name}"
    going = desk.begin(
        run, *more, change="fault_injection:hanging", environment={"BREAKING_AT": "6", "BREAKING_TOUCHES": str(there)}
    )
    wait_for(there, going)
    return going


def test_a_second_signal_stops_at_once_and_leaves_the_older_checkpoint_whole(desk):
    run = desk.folder / "second"
    going = hanging(desk, run)
    os.kill(going.pid, signal.SIGINT)
    time.sleep(0.3)
    assert going.process.is_alive()  # the first one waits for the step
    sent = time.monotonic()
    os.kill(going.pid, signal.SIGTERM)
    ended = going.end()
    assert ended.code == 143 and time.monotonic() - sent < 5
    assert "resuming after step 4 of 12" in desk.again(run).err and desk.is_whole(run)


@pytest.mark.parametrize("grace", [0, 0.3])
def test_a_step_that_hangs_is_left_when_the_grace_is_over(desk, grace):
    run = desk.folder / f"grace-{grace}"
    going = hanging(desk, run, "--grace", grace)
    sent = time.monotonic()
    os.kill(going.pid, signal.SIGTERM)
    ended = going.end()
    assert "was not done within" in one_line(ended.err)
    assert ended.code == 143 and grace <= time.monotonic() - sent < grace + 5
    assert "resuming after step 4 of 12" in desk.again(run).err and desk.is_whole(run)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("step", [6, 12])
def test_an_evaluation_longer_than_the_grace_loses_no_step(desk, step):
    """Not even those before the first evaluation, nor at the very end; the run that goes on begins with the evaluation."""
    run, there = desk.folder / f"long-evaluation-{step}", desk.folder / f"evaluates-{step}"
    environment = {"BREAKING_AT": str(step), "BREAKING_TOUCHES": str(there)}
    words = ("--grace", 0.3, "--save-steps", 100)
    going = desk.begin(run, *words, change="fault_injection:hanging_evaluation", environment=environment)
    wait_for(there, going)
    os.kill(going.pid, signal.SIGTERM)
    ended = going.end()
    assert ended.code == 143
    assert one_line(ended.err) == (
        "hftool: SIGTERM: the step or its evaluation was not done within 0.3 s (--grace): ended at once. "
        "Go on from the newest checkpoint: hftool resume RUN"
    )
    assert f"resuming after step {step} of 12" in desk.again(run).err and same_but_for_times_of_saving(desk, run)


@pytest.mark.parametrize("step", [6, 12])
def test_with_a_signal_pending_an_evaluation_is_left_to_the_run_that_goes_on(desk, step):
    run = desk.folder / f"no-evaluation-{step}"
    ended = desk.begin(run, change="fault_injection:signalled", environment={"BREAKING_AT": str(step)}).end()
    assert ended.code == 143 and f"stopped after step {step}, checkpoint saved in '{run}'" in one_line(ended.err)
    assert log_of(run)[-1]["step"] == step and "evaluation" not in log_of(run)[-1]
    assert f"resuming after step {step} of 12" in desk.again(run).err
    assert desk.is_whole(run)


# memory


@pytest.mark.parametrize("change", ["out_of_memory", pytest.param("memory_error", marks=pytest.mark.slow)])
def test_out_of_memory_halves_the_rows_at_once_and_keeps_the_step(desk, change):
    """From step 5 on there is room for 2 rows; the run that is killed later and goes on ends bitwise like the one in one piece."""
    environment = {"BREAKING_AT": "5"}
    one, two = desk.folder / f"{change}-one", desk.folder / f"{change}-two"
    words = [word for word in desk.words(one) if word != "-q"]
    ended = finish(desk.told(one), words, change=f"fault_injection:{change}", environment=environment)
    assert ended.code == 0, ended.err
    assert ended.err.count("out of memory: from step 5 on 2 rows at once\n") == ended.err.count("out of memory") == 1
    wanted, found = desk.whole(), result(one)
    assert [line["step"] for line in found["log"]] == [line["step"] for line in wanted["log"]]
    assert found["log"][:4] == wanted["log"][:4]
    assert found["log"][4]["loss"] == pytest.approx(wanted["log"][4]["loss"], rel=0.2)  # dropout is drawn for other rows
    assert found["step-000012/state.json"]["micro"] == 2
    ended = desk.begin(two, change=f"fault_injection:{change}", environment=environment, at=("write", "log.jsonl", 10)).end()
    assert ended.code == KILLED
    ended = desk.again(two, change=f"fault_injection:{change}", environment=environment)
    assert "out of memory" not in ended.err  # it is known
    assert result(two) == found


def test_out_of_memory_before_the_first_step_halves_the_rows_too(desk):
    """The estimate of the time finds it out first, and leaves it to the step."""
    run = desk.folder / "out-at-once"
    words = [word for word in desk.words(run) if word != "-q"]
    ended = finish(desk.told(run), words, change="fault_injection:out_of_memory", environment={"BREAKING_AT": "1"})
    assert ended.code == 0, ended.err
    assert ended.err.count("out of memory: from step 1 on 2 rows at once\n") == 1
    assert re.search(r", seed 0: about \d+ s, evaluations and saving aside$", ended.err, re.MULTILINE)
    assert [line["step"] for line in log_of(run)] == [line["step"] for line in desk.whole()["log"]]


def test_no_memory_for_one_row_at_once_is_75(desk):
    run = desk.folder / "no-room-at-once"
    words = [word for word in desk.words(run) if word != "-q"]
    ended = finish(desk.told(run), words, change="fault_injection:no_room_for_one", environment={"BREAKING_AT": "1"})
    assert ended.code == 75 and "Traceback" not in ended.err
    assert "there is no memory for one row at step 1" in ended.err.splitlines()[-1]
    assert "seed 0: time unknown, as memory ran out" in ended.err
    desk.again(run)
    assert [line["step"] for line in log_of(run)] == [line["step"] for line in desk.whole()["log"]]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["cuda", "python"])
def test_the_gradient_of_a_step_in_halves_is_that_of_the_whole_step(tiny_bert, tmp_path, error):
    """In eval mode, where nothing is dropped: fp32 rounding is all that differs."""
    made = []
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
        made.append((loss, count, {n: p.grad.clone() for n, p in trainer.model.named_parameters()}, trainer.micro))
    assert made[0][1] == made[1][1] and made[0][0] == pytest.approx(made[1][0], rel=1e-5)
    assert [micro for *_, micro in made] == [8, 2]
    for name, gradient in made[0][2].items():
        torch.testing.assert_close(gradient, made[1][2][name], rtol=1e-4, atol=1e-7, msg=name)


def test_no_memory_for_one_row_is_75_and_the_weights_are_kept(desk):
    run = desk.folder / "no-room"
    ended = desk.begin(run, change="fault_injection:no_room_for_one", environment={"BREAKING_AT": "6"}).end()
    assert ended.code == 75
    line = one_line(ended.err)
    assert "there is no memory for one row at step 6" in line and "checkpoints/step-000005" in line
    desk.again(run)
    found, wanted = result(run)["log"], desk.whole()["log"]
    assert found[:5] == wanted[:5]
    assert [list(line) for line in found] == [list(line) for line in wanted]  # the rows of step 6 are not passed over
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    assert result(run)["step-000012/state.json"]["micro"] == 1  # it is known how much room there is


def test_killed_while_a_step_is_saved_again_it_is_gone_on_with(desk):
    """Step 6 was saved; with no memory for one row of step 7 it is saved again, and killed when neither folder has its name."""
    run = desk.folder / "no-room-killed"
    words = desk.words(run, "--log-steps", 100)
    how = {"change": "fault_injection:no_room_for_one", "environment": {"BREAKING_AT": "7"}}
    trace = desk.folder / "operations-no-room"
    ended = finish(desk.told(run), words, trace=trace, **how)
    assert ended.code == 75, ended.err
    operations = [line.split(" ", 1) for line in trace.read_text().splitlines()]
    number = max(n for n, (kind, path) in enumerate(operations, 1) if kind == "rename" and path.endswith("/step-000006"))
    assert operations[number][0] == "rename" and "/.tmp-6-" in operations[number][1]
    shutil.rmtree(run)
    ended = finish(desk.told(run), words, at=number + 1, **how)
    assert ended.code == KILLED and not (run / "checkpoints" / "step-000006").exists()
    assert "resuming after step 6 of 12" in desk.again(run).err and leftovers(run) == []
    assert result(run)["model"] == desk.whole()["model"]


def test_the_error_for_one_row_says_what_helps(tiny_bert, tmp_path):
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
    place = tmp_path / "disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small tmpfs")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("at", [7, pytest.param(2, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)])
def test_a_disk_that_fills_is_74_and_the_run_goes_on_bitwise_when_there_is_room(desk, small_disk, at):
    run, ballast = small_disk / "run", small_disk / "ballast"
    environment = {"BREAKING_AT": str(at), "BREAKING_TOUCHES": str(ballast)}
    ended = desk.begin(run, "--log-steps", 100, change="fault_injection:full_disk", environment=environment).end()
    assert ended.code == 74
    line = one_line(ended.err)
    needed, free = map(int, re.search(r"No space left on device.* \((\d+) bytes needed, (\d+) free\)", line).groups())
    assert free < needed and "older ones are whole" in line and line.endswith(f"then: hftool resume {run}")
    assert list((run / "checkpoints").glob(".tmp*")) == []
    ballast.unlink()
    desk.again(run)
    assert leftovers(run) == [] and json.loads((run / "metrics.json").read_text())["steps"] == 12
    assert result(run)["model"] == desk.whole()["model"]
    assert result(run)["step-000012/model.safetensors"] == desk.whole()["step-000012/model.safetensors"]


def test_a_log_that_cannot_be_written_is_74_too(desk, small_disk):
    run, ballast = small_disk / "run", small_disk / "ballast"
    environment = {"BREAKING_AT": "8", "BREAKING_TOUCHES": str(ballast)}
    with open(small_disk / "filler", "wb") as filler:
        filler.write(bytes(4096))
    ended = desk.begin(run, "--save-steps", 1, change="fault_injection:full_disk", environment=environment).end()
    assert ended.code == 74 and "No space left on device" in one_line(ended.err)
    ballast.unlink()
    desk.again(run)
    assert same_but_for_times_of_saving(desk, run)


def test_a_disk_that_can_only_be_read_is_told(desk, small_disk):
    run = small_disk / "run"
    assert desk.begin(run, at=("write", "log.jsonl", 10)).end().code == KILLED
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = finish(desk.told(run), ["resume", run, "--offline", "-q"])
    assert ended.code in (73, 74), ended.err
    assert "Read-only file system" in one_line(ended.err)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    desk.again(run)
    assert desk.is_whole(run)


@pytest.mark.parametrize("free", [1000, 1_000_000])
def test_room_is_looked_for_before_the_first_step(desk, cli, monkeypatch, tmp_path, free):
    """74 when one checkpoint and the model do not fit, a notice when not all that is to be kept does."""
    monkeypatch.setattr("hftool.workflow._finetune.free_bytes", lambda folder: free)
    run = tmp_path / "run"
    words = [word for word in desk.words(run, "--max-steps", 1, "--keep", 9) if word != "-q"]
    code, _, err = cli(*words)
    said = f"bytes are needed for checkpoints and model in '{run}', {free} are free"
    if free == 1000:
        assert code == 74 and said in err.splitlines()[-1] and "Free some space, or choose another --out" in err
        assert not (run / "checkpoints").exists() and not (run / "log.jsonl").exists()
    else:
        assert code == 0 and re.search(rf"^\d+ {re.escape(said)}: the run may end with a full disk$", err, re.MULTILINE)


@pytest.mark.parametrize("at", [12, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 17, 23, 30, 41))])
def test_a_disk_that_fails_is_74_and_nothing_is_lost(desk, at):
    run = desk.folder / f"eio-{at}"
    ended = desk.begin(run, change="fault_injection:failing_disk", environment={"BREAKING_AT": str(at)}).end()
    assert ended.code == 74 and "Input/output error" in one_line(ended.err)
    ended = finish(desk.told(run), desk.words(run, "--resume"))
    assert ended.code == 0, ended.err
    assert desk.is_whole(run) and leftovers(run) == []


def test_an_output_that_is_a_file_or_lies_in_one_is_73(desk, cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        for more in ((), ("--resume",)):
            code, _, err = cli(*desk.words(out, *more))
            assert code == 73 and str(out) in one_line(err)
    assert (tmp_path / "file").read_text() == "mine"


# two at once


def test_a_second_process_on_a_run_is_73_and_the_lock_of_a_dead_one_is_taken_over(desk, cli):
    run = desk.folder / "locked"
    going = hanging(desk, run)
    for words in (["resume", run, "--offline", "-q"], desk.words(run, "--resume")):
        code, out, err = cli(*words)
        assert code == 73 and out == ""
        assert one_line(err) == f"hftool: the run folder '{run}' is locked by process {going.pid}"
    os.kill(going.pid, signal.SIGKILL)
    assert going.end().code == -signal.SIGKILL
    assert (run / ".lock").read_text() == str(going.pid)
    desk.again(run)
    assert desk.is_whole(run)


# clocks, and what else must not matter


def test_a_clock_that_leaps_changes_nothing(desk):
    """The newest checkpoint is the one of the highest step, whatever the times of the files say."""
    run = desk.folder / "clock"
    assert desk.begin(run, change="fault_injection:leaping_clock", at=("write", "log.jsonl", 10)).end().code == KILLED
    for path in (run / "checkpoints" / "step-000008").iterdir():
        os.utime(path, (0, 0))
    os.utime(run / "checkpoints" / "step-000008", (0, 0))
    ended = desk.again(run, change="fault_injection:leaping_clock")
    assert "resuming after step 8 of 12" in ended.err and desk.is_whole(run)
    assert json.loads((run / "metrics.json").read_text())["seconds"] < 3600


def test_workers_folder_and_hash_seed_change_nothing(desk, tmp_path):
    """A process of its own, as the seed of hashes is drawn when Python starts."""
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "OMP_NUM_THREADS": "1", "HOSTNAME": "another"}
    words = map(str, ["-m", "hftool", *desk.words("here", "--workers", 2)])
    done = subprocess.run([sys.executable, *words], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert desk.is_whole(tmp_path / "elsewhere" / "here")
