"""The command line in a process that is forked from one that has imported torch and transformers already.

A new interpreter would import them for four seconds; tests of the start itself use one.
"""

import atexit
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from multiprocessing import connection, forkserver
from pathlib import Path
from unittest import mock

from support.crash_injection import SERVER

# one fork server serves all tests of a worker, so its modules are those that training needs, and these
SERVER.set_forkserver_preload(
    [
        *(forkserver._forkserver._preload_modules or ()),
        "hftool.server.process",
        "hftool.workflow._serve",
        "hftool.server.http.log_writer",
    ]
)


class ForkedProcess:
    """What tests use of subprocess.Popen, for a process of the fork server."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        """The exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout=None):
        """Wait for the end -> the exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        connection.wait([self._process.sentinel], timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("hftool", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(words, *, environment, stderr, stdout=os.devnull, stdin=os.devnull, cwd=None, before=""):
    """Fork `hftool WORDS`.

    Args:
        words: The words of the command line.
        environment: All of its environment.
        stderr, stdout, stdin: Paths; what it writes is added to them.
        cwd: Its folder; None for this one.
        before: "module:function", which is called first.
    """
    files = [str(stdin), str(stdout), str(stderr)]
    plan = (list(map(str, words)), dict(environment), files, str(cwd) if cwd else None, before)
    return ForkedProcess(fork(_run, *plan))


def fork(target, *args):
    """Call `target(*args)` in a forked process -> the multiprocessing.Process."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):  # where the fork server finds what it imports
        forkserver.ensure_running()
    process = SERVER.Process(target=target, args=args)
    process.start()
    return process


def _run(words, environment, files, cwd, before):
    for number, path in enumerate(files):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # those that there are were opened on other files
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    if cwd:
        os.chdir(cwd)
    sys.argv = ["hftool", *words]
    code = 1
    try:
        if before:
            module, _, name = before.partition(":")
            getattr(importlib.import_module(module), name)()
        from hftool.cli.app import entry

        entry()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # what an interpreter does at its end, and multiprocessing does not
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
