"""SIGINT, SIGTERM and SIGHUP during training: finish the step, save, and exit within a grace period."""

import contextlib
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from hftool.errors import Interrupted
from hftool.processes import rank

SIGHUP: int | None = getattr(signal, "SIGHUP", None)  # Windows has no such signal
HANDLED = tuple(number for number in (signal.SIGINT, signal.SIGTERM, SIGHUP) if number is not None)


class Signals:
    """Context manager in which SIGINT, SIGTERM and SIGHUP only set `pending`, so that the step can be finished and saved.

    A second signal ends the process at once, and so does the end of the grace period: older checkpoints are intact at any
    moment. A SIGHUP before or after another signal does not count as a second one: kernel, shell and systemd each send one when
    a session ends. A SIGHUP that is ignored, as under nohup, stays ignored; an ignored SIGINT does not, since the background
    jobs of a shell inherit one.

    A thread measures the grace period, because Python informs it of a signal at once (`signal.set_wakeup_fd`): the main thread
    runs its handlers only after it has returned from native code, such as waiting for another process of the run that hangs.

    Args:
        grace: Seconds from the first signal until the process is ended.
    """

    def __init__(self, grace: float = 30.0) -> None:
        self.pending: int | None = None
        self.grace = grace
        self._previous: dict[int, Any] = {}
        self._sockets: list[socket.socket] = []  # Python writes to the first, the thread reads the second
        self._watcher: threading.Thread | None = None
        self._wakeup = -1

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():  # Python delivers signals to the main thread only
            return self
        self._sockets = list(socket.socketpair())
        self._sockets[0].setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._sockets[0].fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        with signals_deferred():  # the thread inherits the mask: signals go to the main thread
            self._watcher.start()
        for number in HANDLED:
            if number != SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _is_second(self.pending, number):
            os._exit(128 + number)
        self.pending = _exit_signal(self.pending, number)

    def _watch(self) -> None:
        """In the thread: end the process at the second signal, or when the grace period after the first is over."""
        first, end = 0, 0.0
        while True:
            self._sockets[1].settimeout(max(end - time.monotonic(), 1e-6) if first else None)
            try:
                number = next(iter(self._sockets[1].recv(1)), None)
            except TimeoutError:
                _exit_after_grace(first, self.grace)
            if number is None:  # the block has ended
                return
            if number not in HANDLED:
                continue
            if _is_second(first or None, number):
                os._exit(128 + number)
            first, end = _exit_signal(first or None, number), end or time.monotonic() + self.grace

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._watcher is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._sockets[0].shutdown(socket.SHUT_WR)  # not close: data loader processes may hold it, too
            self._watcher.join()
            for end in self._sockets:
                end.close()
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def stop(self, run: str, step: int, *, number: int) -> Interrupted:
        """The error to raise once the checkpoint of this step is saved; `number` is the signal."""
        return Interrupted(
            f"{signal.Signals(number).name}: stopped after step {step}, checkpoint saved in '{run}'",
            f"Resume: hftool resume {shlex.quote(run)}",
            signal_number=number,
        )


def _is_second(first: int | None, number: int) -> bool:
    """Whether this signal is the second request to end the process."""
    return first is not None and SIGHUP not in (first, number)


def _exit_signal(first: int | None, number: int) -> int:
    """The signal that the exit code reports: SIGHUP only where there is no other."""
    return number if first in (None, SIGHUP) else first


def _exit_after_grace(number: int, grace: float) -> None:
    """End the process without a checkpoint. The message bypasses Python's stderr, whose lock the hanging thread may hold."""
    if rank() == 0:
        reason = f"{signal.Signals(number).name}: the step or its evaluation was not done within {grace:g} s (--grace)"
        line = f"hftool: {reason}: ended at once. Resume from the newest checkpoint: hftool resume RUN\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode("ascii"))
    os._exit(128 + number)


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Block the handled signals while data loader processes start; those that arrive meanwhile are delivered afterwards.

    The processes inherit the mask and keep it, so that a signal to the whole process group (Ctrl-C, `timeout`) is handled by
    the main process alone.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
