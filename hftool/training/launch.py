"""Several processes of one run, started and watched by torch's own agent (`torch.distributed.run`).

The agent starts all workers anew when one of them ends with any code but 0; so a worker that ends with an error of ours writes
its code into a file and ends with 0, and only a crash is a reason to start again.
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

AFTER_GRACE = 5  # seconds that a worker has to end in once its grace is over


def wanted_processes(given: int | None, device: str, begun: Run | None = None) -> int:
    """How many processes a run gets: what was asked for, else as many as it had when it was begun, else every GPU that is
    visible; 1 inside a worker. Raises InputMissing (a manifest that cannot be read)."""
    if is_worker():
        return 1
    if given is not None:
        return given
    if begun is not None and begun.is_run():
        had = begun.read_manifest().get("processes")
        return had if isinstance(had, int) and had > 0 and not begun.is_finished() else 1
    if device not in ("auto", "cuda") or not Path("/dev/nvidiactl").exists():  # torch takes a second to say the same
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def launch(words: Sequence[str], *, processes: int, max_restarts: int, grace: float = 30.0) -> int:
    """Run `hftool WORDS` in several processes on this machine and wait for them -> the exit code of the first.

    When one of them dies all are started again, at most `max_restarts` times, and go on from the newest checkpoint. After a
    signal they have `grace` seconds to save.
    """
    import torch.distributed.run as agent
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with tempfile.TemporaryDirectory() as folder, _environment(processes, Path(folder) / "code", grace) as left, _silence():
        options = [
            "--standalone",
            "--nproc-per-node",
            str(processes),
            "--max-restarts",
            str(max_restarts),
            *_heeded(),
            "-m",
            "hftool",
        ]
        code = 0
        try:
            run: Any = agent.run  # neither has types
            parse: Any = agent.parse_args
            run(parse([*options, *words]))
        except SignalException as error:
            code = 128 + int(error.sigval)
        except ChildFailedError as error:
            code = next((128 - c if c < 0 else c for c in (f.exitcode for f in error.failures.values())), 1)
        return int(left.read_text("ascii")) if left.is_file() else code


def _heeded() -> list[str]:
    """The option for the signals that the agent heeds: under nohup, which has SIGHUP ignored, it would heed that again."""
    hang_up = getattr(signal, "SIGHUP", None)
    is_ignored = hang_up is not None and signal.getsignal(hang_up) == signal.SIG_IGN
    return ["--signals-to-handle", "SIGTERM,SIGINT,SIGQUIT"] if is_ignored else []


@contextlib.contextmanager
def _environment(processes: int, left: Path, grace: float) -> Iterator[Path]:
    """What the workers read, for as long as they run. The cores are shared out: each would take all of them."""
    ours = {
        EXIT_FILE: str(left),
        LAUNCHER: str(os.getpid()),
        # else workers that are started again find the addresses of the dead ones in the agent's store, and wait for them
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
    """Keep the agent's own words off stderr: what matters of them the workers say themselves."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]
    before = {name: logging.getLogger(name).level for name in ("torch.distributed", *names)}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
