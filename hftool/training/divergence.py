"""Guards against NaN or infinite numbers and against running out of memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from hftool.data.batches import split_step
from hftool.errors import RunStopped
from hftool.progress import notice
from hftool.training.distributed import largest, share_of

if TYPE_CHECKING:
    from hftool.training.loop import Trainer

MAX_SKIPPED = 5  # consecutive steps with a NaN or infinite loss or gradient
HINT_DIVERGED = "Try a lower --lr, or --precision fp32"
HINT_OUT_OF_MEMORY = "Try a smaller --max-length, or a smaller model"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # messages of CUDA, Linux and Windows


class FiniteGuard:
    """Counts steps whose loss or gradient is NaN or infinite; too many in a row stop the run."""

    def __init__(self, lines: Sequence[int] = ()) -> None:
        self.lines = lines  # the line of each row in the train file, if known; otherwise errors name rows by their position
        self.in_a_row = 0
        self.skipped = 0

    def check(self, finite: bool, *, step: int, lr: float, rows: Sequence[int]) -> bool:
        """Whether the optimizer may take this step.

        Raises:
            RunStopped: After MAX_SKIPPED consecutive steps that were not finite; it names the rows of the last.
        """
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
        """The first eight rows of a step as text, by their lines in the train file or by their positions."""
        known = len(self.lines) > max(rows)
        numbers = sorted(self.lines[i] if known else i + 1 for i in rows)
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        shown = ", ".join(map(str, numbers[:8])) + more
        return f"lines {shown} of train" if known else f"train rows {shown}, counted from 1 without those left out"


def all_finite(model: torch.nn.Module) -> bool:
    """False if a weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. CUDA raises its own class, torch's CPU allocator a RuntimeError with a message."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(text in str(error).lower() for text in OUT_OF_MEMORY))


@contextlib.contextmanager
def rng_state_preserved(device: torch.device) -> Iterator[Callable[[], None]]:
    """Yield a function that restores torch's random state as of now, so that a retry draws the same dropout."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        """Restore the state."""
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
            torch.cuda.empty_cache()

    yield rewind


def backward_within_memory(
    trainer: "Trainer", rows: list[int], batches: Sequence[dict[str, torch.Tensor]]
) -> tuple[float, int]:
    """`Trainer.backward`; if memory runs out, again with half as many rows in a forward pass, which gives the same gradient.

    Returns:
        The sum of losses and the count.

    Raises:
        RunStopped: There is no memory for one row, here or in another process of the run.
    """
    with rng_state_preserved(trainer.accelerator.device) as rewind:
        sums = _backward_in_parts(trainer, rows, batches, rewind)
        (failed,) = largest(trainer.accelerator, [int(sums is None)])
        if sums is None or failed:
            trainer.optimizer.zero_grad()
            rewind()
            trainer.position.step_in_epoch -= 1  # it was not taken: a resumed run starts with it
            raise RunStopped(f"there is no memory for one row at step {trainer.position.step + 1}", HINT_OUT_OF_MEMORY)
        return sums


def _backward_in_parts(
    trainer: "Trainer", rows: list[int], batches: Sequence[dict[str, torch.Tensor]], rewind: Callable[[], None]
) -> tuple[float, int] | None:
    """`Trainer.backward` with as many rows in a forward pass as fit into memory; None if one does not."""
    tokens = trainer.meter.tokens
    while True:
        try:
            return trainer.backward(batches)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        trainer.optimizer.zero_grad()
        share = share_of(trainer.accelerator, rows)
        if min(trainer.micro, len(share)) == 1:
            return None
        trainer.micro = min(trainer.micro, len(share)) // 2
        notice(trainer.progress, f"out of memory: from step {trainer.position.step + 1} on {trainer.micro} rows at once")
        rewind()
        trainer.meter.tokens = tokens
        parts = split_step(share, size=trainer.micro)
        batches = [trainer.head.collate([trainer.features[i] for i in part], epoch_seed=trainer.epoch_seed()) for part in parts]
