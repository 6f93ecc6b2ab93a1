"""Devices and processes of a run, through accelerate."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from hftool.errors import ConfigError, HftoolError, UsageError
from hftool.processes import is_distributed, rank
from hftool.storage.run_folder import locked

SUPPORTED = ("NO", "MULTI_CPU", "MULTI_GPU")  # accelerate's names for one process, or several with the whole model each
_generators = threading.Lock()
DEVICE_VARIABLE = "ACCELERATE_TORCH_DEVICE"  # where accelerate reads the device


def make_accelerator(device: str) -> Any:
    """An accelerate.Accelerator on this device, independent of earlier runs in this process.

    accelerate keeps device and precision for the life of a process, so its state is reset here; bf16 is left to `autocast`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    before = os.environ.pop(DEVICE_VARIABLE, None)
    # with several processes accelerate itself assigns each its GPU
    if (device.startswith("cuda:") and not is_distributed()) or device == "mps":
        os.environ[DEVICE_VARIABLE] = device
    try:
        return Accelerator(cpu=device == "cpu", mixed_precision="no")
    finally:
        os.environ.pop(DEVICE_VARIABLE, None)
        if before is not None:
            os.environ[DEVICE_VARIABLE] = before


class ProcessGroup:
    """The processes of a run, or this one alone. The main process writes files, and its values are used by all.

    The accelerator is created on first use: its import takes a second, which a command with a typo should not wait for.
    """

    def __init__(self, device: str) -> None:
        self.device, self.is_first = device, rank() == 0
        self._accelerator: Any = None

    @property
    def accelerator(self) -> Any:
        """The accelerate.Accelerator of this process. Raises ConfigError for a distributed type that is not supported."""
        if self._accelerator is None:
            self._accelerator = make_accelerator(self.device)
            kind = str(self._accelerator.distributed_type.value)
            if kind not in SUPPORTED:
                raise ConfigError(
                    f"accelerate is set up for {kind}, which hftool cannot train with", "Use plain processes (DDP)"
                )
        return self._accelerator

    def broadcast(self, value: Any) -> Any:
        """The value of the main process, in all of them."""
        return all_gather_json(self.accelerator, value)[0] if is_distributed() else value

    def on_main(self) -> AbstractContextManager[bool]:
        """Whether this is the main process, for the work within that it alone does; an error there is raised in all."""
        return synchronized(self.accelerator) if is_distributed() else nullcontext(True)

    def seed_per_rank(self, seed: int) -> None:
        """Seed the generators of each process but the main one differently, so that their dropout differs."""
        if not self.is_first:
            seed_everything((seed + 1_000_003 * rank()) % 2**32)

    @contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """Hold the lock of a run folder in the main process. Raises OutputUnavailable in all of them."""
        with ExitStack() as stack:
            with self.on_main() as is_main:
                if is_main:
                    stack.enter_context(locked(folder))
            yield


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 for matrix products while weights, sums and updates stay fp32; disabled for fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def generators_claimed() -> Iterator[None]:
    """Exclude other threads of this process from training: the random generators are global.

    Raises:
        UsageError: Another thread trains.
    """
    if not _generators.acquire(blocking=False):
        raise UsageError(
            "another thread of this process trains a model, and both would draw from the same generators",
            "Train one after the other, or in separate processes",
        )
    try:
        yield
    finally:
        _generators.release()


def seed_everything(seed: int) -> None:
    """Seed every generator that training draws from: torch (all devices), numpy and random."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def share_of(accelerator: Any, rows: list[int]) -> list[int]:
    """This process's rows of a step. Rows are sorted by length, so that every n-th balances the processes."""
    return rows[accelerator.process_index :: accelerator.num_processes]


def sum_gradients(accelerator: Any, model: torch.nn.Module, loss: float, count: int) -> tuple[float, int]:
    """Add up gradients, loss and count over all processes.

    Sums instead of means, since counts may differ. A parameter that has no gradient in any process is left without one.

    Returns:
        The summed loss and count.
    """
    if accelerator.num_processes == 1:
        return loss, count
    trainable = [p for p in model.parameters() if p.requires_grad]
    present = torch.tensor([p.grad is not None for p in trainable], dtype=torch.float32, device=accelerator.device)
    numbers = torch.tensor([loss, float(count)], dtype=torch.float64, device=accelerator.device)
    present, numbers = accelerator.reduce(present, "sum"), accelerator.reduce(numbers, "sum")
    reduced = [p for p, processes in zip(trainable, present.tolist(), strict=True) if processes]
    if reduced:
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in reduced]
        whole = accelerator.reduce(torch.cat([part.flatten() for part in parts]), "sum")
        for parameter, part in zip(reduced, whole.split([p.numel() for p in reduced]), strict=True):
            parameter.grad = part.view_as(parameter)
    return float(numbers[0]), int(numbers[1])


def largest(accelerator: Any, numbers: Sequence[int]) -> list[int]:
    """The maximum of each number over all processes."""
    if accelerator.num_processes == 1:
        return list(numbers)
    all_numbers = accelerator.gather(torch.tensor([list(numbers)], device=accelerator.device))
    return [int(n) for n in all_numbers.max(dim=0).values.tolist()]


@contextmanager
def synchronized(accelerator: Any) -> Iterator[bool]:
    """Whether this is the main process. An HftoolError of one process is raised in all: the others would wait for it."""
    if accelerator.num_processes == 1:
        yield True
        return
    failure: list[str] = []
    try:
        yield accelerator.is_main_process
    except HftoolError as error:
        failure = [type(error).__name__, error.detail, error.hint]
    if failure := next(filter(None, all_gather_json(accelerator, failure)), []):
        raise {kind.__name__: kind for kind in HftoolError.__subclasses__()}[failure[0]](*failure[1:])


def all_gather_json(accelerator: Any, document: Any) -> list[Any]:
    """The documents of all processes by rank, sent as JSON in tensors: accelerate's own gathering of objects uses pickle."""
    if accelerator.num_processes == 1:
        return [document]
    data = torch.frombuffer(bytearray(json.dumps(document, default=_plain).encode("utf-8")), dtype=torch.uint8).to(
        accelerator.device
    )
    sizes = accelerator.gather(torch.tensor([len(data)], device=accelerator.device)).tolist()
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=accelerator.device)
    padded[: len(data)] = data
    rows = accelerator.gather(padded[None])
    return [json.loads(bytes(row[:size].cpu().numpy())) for row, size in zip(rows, sizes, strict=True)]


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    return value.tolist()
