"""Runs that hftool starts in processes of their own: how they end, and how they are gone on with."""

import os
import signal
import subprocess
import sys
import time

import pytest
from crashing import result
from several import words_for, workers_of

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
