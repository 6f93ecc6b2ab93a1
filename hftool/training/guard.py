"""What watches over a run: signals, and numbers that are none."""

import contextlib
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import torch

from hftool.errors import Interrupted, RunStopped
from hftool.processes import rank

HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # the terminal has gone; Windows has no such signal
ENDING = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANG_UP) if number is not None)
MAX_SKIPPED = 5  # steps in a row with a loss or gradient that is no number
HINT_DIVERGED = "Try a lower --lr, or --precision fp32"
HINT_OUT_OF_MEMORY = "Try a smaller --max-length, or a smaller model"
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # as CUDA, Linux and Windows say it


class Signals:
    """Within the block, SIGINT, SIGTERM and SIGHUP only set a flag, so that the step is finished and saved; a second one ends
    the process at once, and so does the end of the grace (seconds): older checkpoints are whole at any moment. Installed
    always: a shell's background jobs inherit an ignored SIGINT. But a SIGHUP that is ignored, as under nohup, stays so.

    A SIGHUP before or after another signal is no second one: kernel, shell and systemd each send one when a session ends.

    The grace is counted by a thread, which Python tells of a signal at once: the main thread hears of it only when it has come
    back from what it waits for, such as another process of the run that hangs.
    """

    def __init__(self, grace: float = 30.0) -> None:
        self.pending: int | None = None
        self.grace = grace
        self._before: dict[int, Any] = {}
        self._ears: list[socket.socket] = []  # one is written to, one is listened to
        self._listener: threading.Thread | None = None
        self._wakeup = -1

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():  # Python delivers no signals here
            return self
        self._ears = list(socket.socketpair())
        self._ears[0].setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._ears[0].fileno(), warn_on_full_buffer=False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        with signals_deferred():  # the thread inherits the mask: signals are the main thread's
            self._listener.start()
        for number in ENDING:
            if number != HANG_UP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if _is_second(self.pending, number):
            os._exit(128 + number)
        self.pending = _stronger(self.pending, number)

    def _listen(self) -> None:
        """In the thread: end the process at the second signal, or at the end of the grace that the first one begins."""
        first, end = 0, 0.0
        while True:
            self._ears[1].settimeout(max(end - time.monotonic(), 1e-6) if first else None)
            try:
                number = next(iter(self._ears[1].recv(1)), None)
            except TimeoutError:
                _out_of_time(first, self.grace)
            if number is None:  # the block has ended
                return
            if number not in ENDING:
                continue
            if _is_second(first or None, number):
                os._exit(128 + number)
            first, end = _stronger(first or None, number), end or time.monotonic() + self.grace

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listener is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._ears[0].shutdown(socket.SHUT_WR)  # not close: processes that prepare batches may hold it, too
            self._listener.join()
            for ear in self._ears:
                ear.close()
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def stop(self, run: str, step: int, *, number: int) -> Interrupted:
        """The error to raise for the signal that came, here or to another process of the run. Raise it after the checkpoint of
        this step was saved."""
        return Interrupted(
            f"{signal.Signals(number).name}: stopped after step {step}, checkpoint saved in '{run}'",
            f"Go on: hftool resume {shlex.quote(run)}",
            signal_number=number,
        )


def _is_second(first: int | None, number: int) -> bool:
    """Whether a signal is the second that means the same: to end."""
    return first is not None and HANG_UP not in (first, number)


def _stronger(first: int | None, number: int) -> int:
    """Which of two signals a process ends by: not the SIGHUP, where the other is none."""
    return number if first in (None, HANG_UP) else first


def _out_of_time(number: int, grace: float) -> None:
    """End the process, which still has not saved. The line goes past Python's stderr: whoever hangs may hold its lock."""
    if rank() == 0:
        said = f"{signal.Signals(number).name}: the step or its evaluation was not done within {grace:g} s (--grace)"
        line = f"hftool: {said}: ended at once. Go on from the newest checkpoint: hftool resume RUN\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode("ascii"))
    os._exit(128 + number)


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Around the start of processes that prepare batches. They inherit the mask and keep it: a signal to the whole group
    (Ctrl-C, `timeout`) is the main process's to heed. Here what came meanwhile arrives when the block ends."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class FiniteGuard:
    """Counts steps whose loss or gradient is NaN or infinite; too many in a row stop the run.

    lines: the line in the train file of each row, where they are known; without them rows are told by their position.
    """

    def __init__(self, lines: Sequence[int] = ()) -> None:
        self.lines = lines
        self.in_a_row = 0
        self.skipped = 0

    def check(self, finite: bool, *, step: int, lr: float, rows: Sequence[int]) -> bool:
        """True if the step may be taken. Raises RunStopped after MAX_SKIPPED bad ones, with the rows of the last."""
        if finite:
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        self.skipped += 1
        if self.in_a_row >= MAX_SKIPPED:
            raise RunStopped(
                f"the loss or its gradient is NaN or infinite for {MAX_SKIPPED} steps in a row, at step {step} "
                f"with learning rate {lr:.2g} ({self.name(rows)})",
                HINT_DIVERGED,
            )
        return False

    def name(self, rows: Sequence[int]) -> str:
        """The rows of a step in words: the first eight, by their lines in the train file or by their positions."""
        known = len(self.lines) > max(rows)
        numbers = sorted(self.lines[i] if known else i + 1 for i in rows)
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        shown = ", ".join(map(str, numbers[:8])) + more
        return f"lines {shown} of train" if known else f"train rows {shown}, counted from 1 without those left out"


def all_finite(model: torch.nn.Module) -> bool:
    """False if a weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: CUDA has an error of its own, the CPU's allocator says it in words."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY))


@contextlib.contextmanager
def rng_state_preserved(device: torch.device) -> Iterator[Callable[[], None]]:
    """Give a function that puts torch's generators back to where they are now, so that dropout is drawn the same again."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        """Put them back."""
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
            torch.cuda.empty_cache()

    yield rewind
