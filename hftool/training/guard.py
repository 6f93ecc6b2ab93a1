"""What watches over a run: signals, and numbers that are none."""

import os
import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from hftool.errors import Interrupted, RunStopped

MAX_SKIPPED = 5  # steps in a row with a loss or gradient that is no number


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

    def check(self, run: str, step: int) -> None:
        """Raise Interrupted if a signal came. Call it after the checkpoint of this step was saved."""
        if self.pending is not None:
            name = signal.Signals(self.pending).name
            raise Interrupted(
                f"{name}: stopped after step {step}, checkpoint saved in '{run}'",
                f"For the best model so far: hftool save {run} --checkpoint best --out DIR",
                signal_number=self.pending,
            )


class FiniteGuard:
    """Counts steps whose loss or gradient is NaN or infinite; too many in a row stop the run."""

    def __init__(self) -> None:
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
            lines = ", ".join(map(str, sorted(rows)[:8]))
            raise RunStopped(
                f"the loss or its gradient is NaN or infinite for {MAX_SKIPPED} steps in a row, at step {step} "
                f"with learning rate {lr:.2g} (train rows {lines} ...); the last finite weights are kept",
                "Try a lower --lr, or --precision fp32",
            )
        return False
