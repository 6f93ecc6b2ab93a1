"""Several processes of one run, started and supervised by torch's elastic agent (`torch.distributed.run`).

The agent restarts all workers when one exits with a code other than 0. A worker that ends with one of our errors therefore
writes its exit code into a file and exits with 0, so that only a crash leads to a restart.
"""

import contextlib
import logging
import math
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hftool.machine import usable_cores
from hftool.processes import EXIT_FILE, LAUNCHER, SHUTDOWN, is_worker
from hftool.storage.run_folder import Run

AFTER_GRACE = 5  # seconds in which a worker must exit once its grace period is over


def wanted_processes(given: int | None, device: str, existing: Run | None = None) -> int:
    """The number of processes of a run: `given`, else as many as an existing run had, else one for each GPU; 1 in a worker.

    Raises:
        InputMissing: The manifest of the run cannot be read.
    """
    if is_worker():
        return 1
    if given is not None:
        return given
    if existing is not None and existing.is_run():
        had = existing.read_manifest().get("processes")
        return had if isinstance(had, int) and had > 0 and not existing.is_finished() else 1
    if device not in ("auto", "cuda") or not Path("/dev/nvidiactl").exists():  # importing torch to find out takes a second
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def launch(arguments: Sequence[str], *, processes: int, max_restarts: int, grace: float = 30.0) -> int:
    """Run `hftool ARGUMENTS` in several processes on this machine -> the exit code of the first.

    All are restarted from the newest checkpoint after one has crashed, and have `grace` seconds to save after a signal.
    """
    import torch.distributed.run as agent
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with tempfile.TemporaryDirectory() as folder, _environment(processes, Path(folder) / "code", grace) as left, _silence():
        options = ["--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(max_restarts), *_signal_options()]
        code = 0
        try:
            run: Any = agent.run  # neither has types
            parse: Any = agent.parse_args
            run(parse([*options, "-m", "hftool", *arguments]))
        except SignalException as error:
            code = 128 + int(error.sigval)
        except ChildFailedError as error:
            code = next((128 - c if c < 0 else c for c in (f.exitcode for f in error.failures.values())), 1)
        return int(left.read_text("ascii")) if left.is_file() else code


def _signal_options() -> list[str]:
    """Keep the agent from handling SIGHUP where it is ignored, as under nohup."""
    hang_up = getattr(signal, "SIGHUP", None)
    is_ignored = hang_up is not None and signal.getsignal(hang_up) == signal.SIG_IGN
    return ["--signals-to-handle", "SIGTERM,SIGINT,SIGQUIT"] if is_ignored else []


@contextlib.contextmanager
def _environment(processes: int, left: Path, grace: float) -> Iterator[Path]:
    """Set the environment of the workers while they run. The cores are divided: each worker would use all of them."""
    ours = {
        EXIT_FILE: str(left),
        LAUNCHER: str(os.getpid()),
        # otherwise restarted workers find the addresses of the dead ones in the agent's store, and wait for them
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        SHUTDOWN: str(math.ceil(grace) + AFTER_GRACE),  # seconds; then the agent kills them
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // processes))),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield left
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence the agent's logging: the workers report errors themselves."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]
    before = {name: logging.getLogger(name).level for name in ("torch.distributed", *names)}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
