"""Runs that hftool starts in several processes: how they end, and how they are resumed."""

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
from support import fault_injection
from support.crash_injection import result, start
from support.process_pairs import environments, free_port, log_of, words_for, workers_of

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="workers are found in /proc")


def launch(words):
    """hftool as a process with these words."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hftool", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def end(going, seconds=120):
    """Its exit code, stdout and stderr; it is terminated with its workers if it does not end by itself."""
    try:
        out, err = going.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        going.terminate()
        raise
    return going.returncode, out, err


def until(process, ready, seconds=120):
    """Wait for a condition while the process, started by launch() or by fork(), is running."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert (process.poll() if isinstance(process, subprocess.Popen) else process.exitcode) is None, "it has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoints/step-*"))


# one process that is watched


@pytest.mark.slow
@linux
def test_one_process_is_restarted_too_and_ends_bitwise_the_same(tmp_path):
    """The launcher starts one worker, which is killed, started again, and resumes."""
    more = ("--batch-size", "4", "--epochs", "20", "--save-steps", "5", "--patience", "0", "-q")
    whole = launch(words_for(tmp_path, "whole", *more))
    broken = launch(words_for(tmp_path, "broken", *more, "--max-restarts", "1"))
    until(broken, lambda: len(checkpoints(tmp_path / "broken")) > 1)
    assert list(workers_of(broken.pid)) == [0]
    os.kill(workers_of(broken.pid)[0], signal.SIGKILL)
    ends = [end(going) for going in (whole, broken)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert ends[1][1].startswith("run ") and result(tmp_path / "broken") == result(tmp_path / "whole")


def test_an_error_in_the_only_worker_is_printed_once_and_gives_the_exit_code(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    code, out, err = end(launch(words_for(tmp_path, "run", "--max-restarts", "2")))
    assert (code, out) == (73, "") and err.count("exists already") == 1, err


@pytest.mark.slow
def test_one_process_with_restarts_ends_with_its_code(tmp_path):
    code, out, err = end(launch(words_for(tmp_path, "run", "--max-steps", "2", "-q", "--max-restarts", "1")))
    assert code == 0 and out.count("run   ") == 1, err


@pytest.mark.slow
@linux
def test_workers_whose_launcher_is_killed_save_and_end(tmp_path):
    """Then the run can be resumed: its lock is free, and its checkpoints are complete."""
    words = words_for(tmp_path, "run", "--batch-size", "4", "--epochs", "1000", "--save-steps", "2", "--patience", "0", "-q")
    going = launch([*words, "--processes", "2"])
    until(going, lambda: checkpoints(tmp_path / "run"))
    workers = workers_of(going.pid)
    assert sorted(workers) == [0, 1]
    going.kill()
    going.communicate()
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in workers.values()):
        assert time.monotonic() < deadline, "workers are still running"
        time.sleep(0.1)
    with locked(tmp_path / "run"):
        assert checkpoints(tmp_path / "run")


# several processes, one of which fails


def start_two(folder, more, *, change=None, environment=None, second=None):
    """Both processes of a run, as torchrun would start them; `change` breaks the one whose number is `second`, by default 1."""
    broken = 1 if second is None else second
    return [
        start(
            folder / f"output-{rank}",
            words_for(folder, "two", "--batch-size", "8", "-q", *more),
            change=change if rank == broken else None,
            environment={**given, **(environment or {})},
        )
        for rank, given in enumerate(environments(free_port()))
    ]


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_no_memory_in_one_process_stops_all_with_one_message(tmp_path, rank):
    going = start_two(tmp_path, (), change=fault_injection.no_room_for_one, environment={"BREAKING_AT": "3"}, second=rank)
    first, second = (one.wait(60) for one in going)
    assert (first.code, second.code, second.err) == (75, 75, "")
    line = one_line(first.err)
    assert "there is no memory for one row at step 3" in line and "checkpoints/step-000002" in line
    going = start_two(tmp_path, ("--resume",))
    assert [one.wait().code for one in going] == [0, 0]
    (tmp_path / "whole").mkdir()
    assert [one.wait().code for one in start_two(tmp_path / "whole", ())] == [0, 0]
    found, wanted = ([line for line in log_of(folder / "two")] for folder in (tmp_path, tmp_path / "whole"))
    assert [line.get("loss") for line in found[:2]] == [line.get("loss") for line in wanted[:2]]
    assert [line["step"] for line in found] == [line["step"] for line in wanted]


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_evaluation_that_fails_in_one_process_stops_all_with_one_message(tmp_path, rank):
    going = start_two(tmp_path, (), change=fault_injection.unmeasurable, second=rank)
    first, second = (one.wait(60) for one in going)
    assert (first.code, second.code, second.err) == (65, 65, "")
    assert "the model answers with NaN" in one_line(first.err)


def test_a_signal_to_a_process_that_waits_for_a_hanging_one_ends_it_after_the_grace(tmp_path):
    touched = tmp_path / "hangs"
    environment = {"BREAKING_AT": "3", "BREAKING_TOUCHES": str(touched)}
    first, second = start_two(tmp_path, ("--grace", "1"), change=fault_injection.hanging, environment=environment)
    deadline = time.monotonic() + 60
    while not touched.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)  # the first has come to where it waits
    os.kill(first.pid, signal.SIGTERM)
    try:
        assert first.wait(20).code == 143
    finally:
        os.kill(second.pid, signal.SIGKILL)


@pytest.mark.parametrize("at", [12, *(pytest.param(at, marks=pytest.mark.slow) for at in (2, 30))])
def test_a_disk_that_fails_in_the_first_process_stops_all_with_74_and_one_message(tmp_path, at):
    going = start_two(tmp_path, (), change=fault_injection.failing_disk, environment={"BREAKING_AT": str(at)}, second=0)
    first, second = (one.wait(60) for one in going)
    assert (first.code, second.code, second.err) == (74, 74, "")
    assert "Input/output error" in one_line(first.err)
    assert [one.wait().code for one in start_two(tmp_path, ("--resume",))] == [0, 0]


def test_a_locked_run_folder_is_73_in_all_processes(tmp_path):
    short = ("--max-steps", "1")
    assert [one.wait().code for one in start_two(tmp_path, short)] == [0, 0]
    (tmp_path / "two" / "metrics.json").unlink()
    with locked(tmp_path / "two"):
        first, second = (one.wait(60) for one in start_two(tmp_path, (*short, "--resume")))
    assert (first.code, second.code, second.err) == (73, 73, "")
    assert f"is locked by process {os.getpid()}" in one_line(first.err)


@pytest.mark.slow  # quick: an error of the only worker, and a disk that fails under processes that are not launched
@linux
def test_a_full_disk_ends_the_launcher_with_74_and_nothing_is_restarted(tmp_path):
    """No file may be longer than 40 kB: weights are."""
    import resource

    words = words_for(tmp_path, "run", "-q", "--max-steps", "2", "--processes", "2", "--max-restarts", "2")
    command = [sys.executable, "-m", "hftool", *words]

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (74, "")
    assert "could not be written" in one_line(done.stderr)


def test_an_error_in_a_worker_after_the_first_has_ended_is_no_reason_to_restart(tmp_path, monkeypatch, capsys):
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


# resuming


ENDLESS = ("--epochs", "1000", "--save-steps", "2", "--patience", "0")


@pytest.mark.parametrize("again", ["resume", pytest.param("finetune", marks=pytest.mark.slow)])
def test_a_run_of_two_processes_is_resumed_by_two_without_an_option(tmp_path, again):
    """hftool starts both; SIGTERM to it ends them with a checkpoint."""
    run = tmp_path / "two"
    workers = start_two(tmp_path, ENDLESS)
    until(workers[0].process, lambda: checkpoints(run))
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert [worker.wait().code for worker in workers] == [143, 143]
    assert json.loads((run / "manifest.json").read_text())["processes"] == 2
    words = words_for(tmp_path, "two", "--batch-size", "8", "-q", *ENDLESS, "--resume")
    before = max(checkpoints(run))
    launcher = launch(words if again == "finetune" else ["resume", run, "--offline", "-q"])
    until(launcher, lambda: max(checkpoints(run)) > before)
    launcher.send_signal(signal.SIGTERM)
    code, _, err = end(launcher)
    assert code == 143 and one_line(err).endswith(f"Resume: hftool resume {run}")


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
