"""Rank, world size and life cycle of a process in a distributed run, from the environment of torchrun or accelerate."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

LAUNCHER = "HFTOOL_LAUNCHER"  # the process id of the hftool that started this worker
LOOK = 1.0  # seconds between checks that it is alive
SHUTDOWN = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"  # seconds that torch's agent gives workers to save
EXIT_FILE = "HFTOOL_EXIT_FILE"  # file for the exit code of rank 0, when hftool started the workers


def rank() -> int:
    """The rank of this process; 0 without torchrun or accelerate."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The rank of this process on its machine; 0 without torchrun or accelerate."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """The number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))


def is_distributed() -> bool:
    """Whether the run has more than one process."""
    return world_size() > 1


def is_worker() -> bool:
    """Whether torchrun started this process, or hftool through it: even a single worker starts no others."""
    return is_distributed() or EXIT_FILE in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def restart_count() -> int:
    """How often torch's elastic agent has restarted the processes of this run."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def become_worker() -> None:
    """Set up a worker at the start of a command: only rank 0 prints, and a worker ends with its launcher."""
    if EXIT_FILE in os.environ and rank() == 0:
        Path(os.environ[EXIT_FILE]).unlink(missing_ok=True)  # from workers before a restart
    if is_distributed() and os.environ.get("RANK") != "0":
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if LAUNCHER in os.environ:
        threading.Thread(target=_watch_launcher, args=(int(os.environ[LAUNCHER]),), daemon=True, name="hftool-launcher").start()


def _watch_launcher(launcher: int) -> None:
    """End this process when its launcher was killed: save as after SIGTERM, and exit when the time for that is over."""
    while os.getppid() == launcher:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(float(os.environ.get(SHUTDOWN, "30")))
    os._exit(128 + signal.SIGTERM)


def rank0_has_exited() -> bool:
    """Whether rank 0 has stored its exit code; errors of other ranks after that only come from its absence."""
    return rank() > 0 and EXIT_FILE in os.environ and Path(os.environ[EXIT_FILE]).is_file()


def worker_exit_code(code: int) -> int:
    """The exit code of a worker, where hftool alone would end with `code`; rank 0 stores it for the launcher."""
    path = os.environ.get(EXIT_FILE)
    if path is None or (code == 1 and not rank0_has_exited()):
        return code
    if rank() == 0:
        with open(path, "w", encoding="ascii") as handle:
            handle.write(str(code))
    return 0
