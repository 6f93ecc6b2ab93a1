"""What watches over a run: signals, and numbers that are none."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import torch

from hftool.errors import Interrupted, RunStopped

MAX_SKIPPED = 5  # steps in a row with a loss or gradient that is no number
TRY = "Try a lower --lr, or --precision fp32"


class Signals:
    """Within the block, SIGINT and SIGTERM only set a flag, so that the step is finished and saved; a second one ends the
    process at once. Installed always: a shell's background jobs inherit an ignored SIGINT."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._arrived)
            except ValueError:  # not the main thread: Python delivers no signals here
                return self
        return self

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None:
            os._exit(128 + number)
        self.pending = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def stop(self, run: str, step: int) -> Interrupted:
        """The error to raise for the signal that came. Raise it after the checkpoint of this step was saved."""
        assert self.pending is not None
        return Interrupted(
            f"{signal.Signals(self.pending).name}: stopped after step {step}, checkpoint saved in '{run}'",
            f"For the best model so far: hftool save {run} --checkpoint best --out DIR",
            signal_number=self.pending,
        )


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Around the start of processes that prepare batches. They inherit the mask and keep it: a signal to the whole group
    (Ctrl-C, `timeout`) is the main process's to heed. Here what came meanwhile arrives when the block ends."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
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
                TRY,
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
