"""A worker ends with the process that started it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """
import os, signal, sys, time
from hftool import processes
processes.LOOK = 0.02
heard = {heard}
if heard == "hears":
    signal.signal(signal.SIGTERM, lambda number, frame: (open({file!r}, "w").write("saved"), os._exit(0)))
elif heard == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
processes.become_worker()
os.write(1, b"%d\\n" % os.getpid())  # in one piece: two write here
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
from hftool.processes import LAUNCHER, SHUTDOWN
known = {{**os.environ, SHUTDOWN: "0.3", **({{LAUNCHER: str(os.getpid())}} if {ours} else {{}})}}
children = [subprocess.Popen([sys.executable, "-c", {child!r}], env=known) for _ in range(2)]
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process of Windows has no parent that changes")


def gone(pid, seconds):
    """Whether a process ends within so many seconds; one that is ended and not waited for counts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def started(tmp_path, heard, *, ours=True):
    """A process with two workers -> it, and their numbers."""
    child = CHILD.format(heard=repr(heard), file=str(tmp_path / "saved"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=child, ours=ours)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    return parent, [int(parent.stdout.readline()) for _ in range(2)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("heard", ["usual", "hears", "deaf"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_launcher_that_is_killed(tmp_path, heard, number):
    parent, workers = started(tmp_path, heard)
    parent.send_signal(number)
    parent.wait(10)
    try:
        assert all(gone(pid, 20) for pid in workers)
        assert (tmp_path / "saved").exists() is (heard == "hears"), "a worker that saves after SIGTERM has done so"
    finally:
        parent.stdout.close()
        for pid in workers:
            if not gone(pid, 0.01):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_of_others_are_left_alone(tmp_path):
    parent, workers = started(tmp_path, "usual", ours=False)
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    assert not any(gone(pid, 0.3) for pid in workers)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
