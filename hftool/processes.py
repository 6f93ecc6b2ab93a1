"""What a process knows of its place among several of one run, by the environment that torchrun or accelerate gave it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

LAUNCHER = "HFTOOL_LAUNCHER"  # the process id of the hftool that started this worker
LOOK = 1.0  # s between two looks whether it is still there
SHUTDOWN = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"  # s that workers have to save in, as torch's agent has it
EXIT_FILE = "HFTOOL_EXIT_FILE"  # where the first worker leaves its exit code, when hftool started the workers


def rank() -> int:
    """The number of this process among those that torchrun or accelerate started; 0 alone."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes make this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The number of this process among those of this machine; 0 alone."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world() -> int:
    """How many of the processes of this run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world())))


def several() -> bool:
    """Whether this process is one of several of the same run."""
    return world() > 1


def is_worker() -> bool:
    """Whether this process was started by torchrun, or by hftool through it: even a worker that is alone starts no others."""
    return several() or EXIT_FILE in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def restarts() -> int:
    """How often torch's elastic agent has started the processes of this run anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def become_worker() -> None:
    """At the start of a command: of several processes all but the first are silent."""
    if EXIT_FILE in os.environ and rank() == 0:
        Path(os.environ[EXIT_FILE]).unlink(missing_ok=True)  # of workers that were there before these
    if several() and os.environ.get("RANK") != "0":
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if LAUNCHER in os.environ:
        threading.Thread(target=_end_with, args=(int(os.environ[LAUNCHER]),), daemon=True, name="hftool-launcher").start()


def _end_with(launcher: int) -> None:
    """End when the process that started this one is gone, killed without a chance to end its workers: save as after SIGTERM,
    and after the time for that end at once."""
    while os.getppid() == launcher:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(float(os.environ.get(SHUTDOWN, "30")))
    os._exit(128 + signal.SIGTERM)


def first_has_left() -> bool:
    """Whether the first worker has told its exit code: what befalls another one from then on is that it is alone."""
    return rank() > 0 and EXIT_FILE in os.environ and Path(os.environ[EXIT_FILE]).is_file()


def leave(code: int) -> int:
    """The code with which a worker ends when hftool would end with `code`."""
    path = os.environ.get(EXIT_FILE)
    if path is None or (code == 1 and not first_has_left()):
        return code
    if rank() == 0:
        with open(path, "w", encoding="ascii") as handle:
            handle.write(str(code))
    return 0
