"""hftool/processes.py: a worker ends with the launcher that started it."""

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
on_sigterm = {on_sigterm}
if on_sigterm == "save":
    signal.signal(signal.SIGTERM, lambda number, frame: (open({file!r}, "w").write("saved"), os._exit(0)))
elif on_sigterm == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
processes.become_worker()
os.write(1, b"%d\\n" % os.getpid())  # in one piece: two write here
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
from hftool.processes import LAUNCHER, SHUTDOWN
known = {{**os.environ, SHUTDOWN: "0.3", **({{LAUNCHER: str(os.getpid())}} if {with_launcher} else {{}})}}
children = [subprocess.Popen([sys.executable, "-c", {child!r}], env=known) for _ in range(2)]
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process of Windows has no parent that changes")


def has_ended(pid, seconds):
    """Whether a process ends within `seconds`; a zombie counts as ended."""
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


def start_launcher(tmp_path, on_sigterm, *, with_launcher=True):
    """A launcher with two workers: (process, pids of the workers)."""
    child = CHILD.format(on_sigterm=repr(on_sigterm), file=str(tmp_path / "saved"))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=child, with_launcher=with_launcher)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    return parent, [int(parent.stdout.readline()) for _ in range(2)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("on_sigterm", ["default", "save", "ignore"])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_killed_launcher(tmp_path, on_sigterm, signal_number):
    parent, workers = start_launcher(tmp_path, on_sigterm)
    parent.send_signal(signal_number)
    parent.wait(10)
    try:
        assert all(has_ended(pid, 20) for pid in workers)
        assert (tmp_path / "saved").exists() is (on_sigterm == "save"), "a worker that saves after SIGTERM has done so"
    finally:
        parent.stdout.close()
        for pid in workers:
            if not has_ended(pid, 0.01):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_of_other_launchers_are_not_ended(tmp_path):
    parent, workers = start_launcher(tmp_path, "default", with_launcher=False)
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    assert not any(has_ended(pid, 0.3) for pid in workers)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
