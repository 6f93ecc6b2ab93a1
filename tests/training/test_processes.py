"""Runs that hftool starts in processes of their own: how they end, and how they are gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import one_line
from hftool.storage.run_folder import Run, locked
from hftool.training.launch import _environment, wanted_processes
from support.crash_injection import result, start
from support.process_pairs import environments, free_port, log_of, words_for, workers_of

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="workers are found in /proc")


def begin(words):
    """hftool as a process with these words."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hftool", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def end(going, seconds=120):
    """Its code, stdout and stderr; it is ended with its workers if it does not end by itself."""
    try:
        out, err = going.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        going.terminate()
        raise
    return going.returncode, out, err


def until(going, ready, seconds=120):
    """Wait for something while the process is there."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert going.poll() is None, going.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoints/step-*"))


# one process that is watched


@pytest.mark.slow
@linux
def test_restarts_are_for_one_process_too_and_it_ends_bitwise_the_same(tmp_path):
    """It starts one worker, which starts none; that is killed, started again, and goes on."""
    more = ("--batch-size", "4", "--epochs", "20", "--save-steps", "5", "--patience", "0", "-q")
    whole = begin(words_for(tmp_path, "whole", *more))
    broken = begin(words_for(tmp_path, "broken", *more, "--max-restarts", "1"))
    until(broken, lambda: len(checkpoints(tmp_path / "broken")) > 1)
    assert list(workers_of(broken.pid)) == [0]
    os.kill(workers_of(broken.pid)[0], signal.SIGKILL)
    ends = [end(going) for going in (whole, broken)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert ends[1][1].startswith("run ") and result(tmp_path / "broken") == result(tmp_path / "whole")


def test_an_error_in_the_only_worker_is_said_once_with_its_code(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    code, out, err = end(begin(words_for(tmp_path, "run", "--max-restarts", "2")), 60)
    assert (code, out) == (73, "") and err.count("exists already") == 1, err


def test_one_process_with_restarts_ends_with_its_code(tmp_path):
    code, out, err = end(begin(words_for(tmp_path, "run", "--max-steps", "2", "-q", "--max-restarts", "1")), 60)
    assert code == 0 and out.count("run   ") == 1, err


@pytest.mark.slow
@linux
def test_workers_whose_launcher_is_killed_save_and_end(tmp_path):
    """Then the run can be gone on with: nobody holds its lock, and nothing of it is lost."""
    words = words_for(tmp_path, "run", "--batch-size", "4", "--epochs", "1000", "--save-steps", "2", "--patience", "0", "-q")
    going = begin([*words, "--processes", "2"])
    until(going, lambda: checkpoints(tmp_path / "run"))
    workers = workers_of(going.pid)
    assert sorted(workers) == [0, 1]
    going.kill()
    going.communicate()
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in workers.values()):
        assert time.monotonic() < deadline, "the workers are left"
        time.sleep(0.1)
    with locked(tmp_path / "run"):
        assert checkpoints(tmp_path / "run")


# several processes, one of which fails


def start_two(folder, more, *, change=None, environment=None, second=None):
    """Both processes of a run, as torchrun would start them; `change` breaks the one whose number is `second`, by default 1."""
    broken = 1 if second is None else second
    return [
        start(
            folder / f"told-{rank}",
            words_for(folder, "two", "--batch-size", "8", "-q", *more),
            change=change if rank == broken else None,
            environment={**given, **(environment or {})},
        )
        for rank, given in enumerate(environments(free_port()))
    ]


@pytest.mark.parametrize("rank", [0, 1])
def test_no_memory_in_one_of_several_stops_them_all_and_is_said_once(tmp_path, rank):
    going = start_two(tmp_path, (), change="fault_injection:no_room_for_one", environment={"BREAKING_AT": "3"}, second=rank)
    first, second = (one.end(60) for one in going)
    assert (first.code, second.code, second.err) == (75, 75, "")
    line = one_line(first.err)
    assert "there is no memory for one row at step 3" in line and "checkpoints/step-000002" in line
    going = start_two(tmp_path, ("--resume",))
    assert [one.end().code for one in going] == [0, 0]
    (tmp_path / "whole").mkdir()
    assert [one.end().code for one in start_two(tmp_path / "whole", ())] == [0, 0]
    found, wanted = ([line for line in log_of(folder / "two")] for folder in (tmp_path, tmp_path / "whole"))
    assert [line.get("loss") for line in found[:2]] == [line.get("loss") for line in wanted[:2]]
    assert [line["step"] for line in found] == [line["step"] for line in wanted]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_of_several_cannot_measure_ends_them_all_and_is_said_once(tmp_path, rank):
    going = start_two(tmp_path, (), change="fault_injection:unmeasurable", second=rank)
    first, second = (one.end(60) for one in going)
    assert (first.code, second.code, second.err) == (65, 65, "")
    assert "the model answers with NaN" in one_line(first.err)


def test_a_signal_to_one_that_waits_for_one_that_hangs_ends_it_after_the_grace(tmp_path):
    touched = tmp_path / "hangs"
    environment = {"BREAKING_AT": "3", "BREAKING_TOUCHES": str(touched)}
    first, second = start_two(tmp_path, ("--grace", "1"), change="fault_injection:hanging", environment=environment)
    deadline = time.monotonic() + 60
    while not touched.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # the first has come to where it waits
    os.kill(first.pid, signal.SIGTERM)
    try:
        assert first.end(20).code == 143
    finally:
        os.kill(second.pid, signal.SIGKILL)


@pytest.mark.parametrize("at", [2, 12, pytest.param(30, marks=pytest.mark.slow)])
def test_a_disk_that_fails_the_first_of_several_ends_them_all_with_74_and_is_said_once(tmp_path, at):
    going = start_two(tmp_path, (), change="fault_injection:failing_disk", environment={"BREAKING_AT": str(at)}, second=0)
    first, second = (one.end(60) for one in going)
    assert (first.code, second.code, second.err) == (74, 74, "")
    assert "Input/output error" in one_line(first.err)
    assert [one.end().code for one in start_two(tmp_path, ("--resume",))] == [0, 0]


def test_a_run_folder_that_is_locked_is_73_in_all_of_several(tmp_path):
    assert [one.end().code for one in start_two(tmp_path, ())] == [0, 0]
    (tmp_path / "two" / "metrics.json").unlink()
    with locked(tmp_path / "two"):
        first, second = (one.end(60) for one in start_two(tmp_path, ("--resume",)))
    assert (first.code, second.code, second.err) == (73, 73, "")
    assert f"is locked by process {os.getpid()}" in one_line(first.err)


@linux
def test_a_full_disk_ends_what_hftool_started_with_74_and_nothing_is_started_again(tmp_path):
    """No file may be longer than 40 kB: weights are."""
    import resource

    words = words_for(tmp_path, "run", "-q", "--max-steps", "2", "--processes", "2", "--max-restarts", "2")
    command = [sys.executable, "-m", "hftool", *words]

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (74, "")
    assert "could not be written" in one_line(done.stderr)


def test_what_befalls_a_worker_that_the_first_has_left_is_no_reason_to_start_again(tmp_path, monkeypatch, capsys):
    from hftool.cli.app import _bug
    from hftool.processes import EXIT_FILE, become_worker, worker_exit_code

    for name, value in environments(1)[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(EXIT_FILE, str(tmp_path / "code"))
    assert _bug(RuntimeError("Connection closed by peer"), []) == 1 == worker_exit_code(1)
    assert "Connection closed" in capsys.readouterr().err and worker_exit_code(65) == 0 and not (tmp_path / "code").exists()
    monkeypatch.setenv("RANK", "0")
    assert worker_exit_code(74) == 0 and (tmp_path / "code").read_text() == "74"
    monkeypatch.setenv("RANK", "1")
    assert _bug(RuntimeError("Connection closed by peer"), []) == 1 and worker_exit_code(1) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    become_worker()
    assert not (tmp_path / "code").exists() and worker_exit_code(1) == 1


# going on


@pytest.mark.parametrize("again", ["resume", pytest.param("finetune", marks=pytest.mark.slow)])
def test_a_run_of_two_is_gone_on_with_by_two_without_being_told(tmp_path, again):
    words = words_for(tmp_path, "run", "--batch-size", "8", "--epochs", "1000", "--save-steps", "2", "--patience", "0", "-q")
    going = begin([*words, "--processes", "2"])
    until(going, lambda: checkpoints(tmp_path / "run"))
    going.send_signal(signal.SIGTERM)
    code, _, err = end(going)
    assert code == 143 and one_line(err).endswith(f"Go on: hftool resume {tmp_path / 'run'}")
    made = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert made["processes"] == 2
    words = [*words, "--resume"] if again == "finetune" else ["resume", tmp_path / "run", "--offline", "-q"]
    before = max(checkpoints(tmp_path / "run"))
    going = begin(words)
    until(going, lambda: max(checkpoints(tmp_path / "run")) > before)
    going.send_signal(signal.SIGTERM)
    assert end(going)[0] == 143


def test_how_many_processes_a_run_gets(tmp_path, monkeypatch):
    run = Run(tmp_path)
    assert [wanted_processes(given, "cpu", run) for given in (None, 3)] == [1, 3]
    run.config.write_text("device: cpu\n")
    run.manifest.write_text('{"processes": 2}')
    assert [wanted_processes(given, "cpu", run) for given in (None, 3)] == [2, 3]
    assert wanted_processes(None, "cpu") == 1
    run.metrics.write_text("{}")
    run.model.mkdir()
    assert wanted_processes(None, "cpu", run) == 1  # nothing is left to do
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert wanted_processes(3, "cpu", run) == 1


def test_the_agent_waits_for_as_long_as_the_grace_lasts(tmp_path):
    from torch.distributed.launcher.api import LaunchConfig

    with _environment(2, tmp_path / "code", 99.5):
        assert LaunchConfig(1, 1, 1).shutdown_timeout == 105
    assert LaunchConfig(1, 1, 1).shutdown_timeout == 30
