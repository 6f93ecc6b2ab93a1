"""Where training runs: devices and processes, through accelerate."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from hftool.errors import ConfigError, HftoolError, UsageError
from hftool.processes import rank, several
from hftool.storage.run_folder import locked

KINDS = ("NO", "MULTI_CPU", "MULTI_GPU")  # of accelerate: one process, or several that each hold the whole model
_generators = threading.Lock()
WISH = "ACCELERATE_TORCH_DEVICE"  # where accelerate reads it


def make_accelerator(device: str) -> Any:
    """An accelerate.Accelerator on this device, whatever an earlier run in this process was on.

    accelerate keeps device and precision for the life of a process; so its state is started anew, and arithmetic in bf16 is
    the loop's own.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    before = os.environ.pop(WISH, None)
    # of several processes accelerate gives each its GPU, and only then tells CUDA which it is
    if (device.startswith("cuda:") and not several()) or device == "mps":
        os.environ[WISH] = device
    try:
        return Accelerator(cpu=device == "cpu", mixed_precision="no")
    finally:
        os.environ.pop(WISH, None)
        if before is not None:
            os.environ[WISH] = before


class ProcessGroup:
    """The processes of a run, which may be this one alone. The first of them writes, and decides what all must agree on.

    The accelerator is made when it is first asked for: its import takes a second, and a typo should not wait for it.
    """

    def __init__(self, device: str) -> None:
        self.device, self.is_first = device, rank() == 0
        self._accelerator: Any = None

    @property
    def accelerator(self) -> Any:
        """The accelerate.Accelerator of this process. Raises ConfigError for ways to place a model that are not known here."""
        if self._accelerator is None:
            self._accelerator = make_accelerator(self.device)
            kind = str(self._accelerator.distributed_type.value)
            if kind not in KINDS:
                raise ConfigError(
                    f"accelerate is set up for {kind}, which hftool cannot train with", "Use plain processes (DDP)"
                )
        return self._accelerator

    def agree(self, value: Any) -> Any:
        """What the first process has, in all of them."""
        return all_gather_json(self.accelerator, value)[0] if several() else value

    def check(self, work: Callable[[], object]) -> None:
        """Do this in the first process; the error that it raises is raised in all."""
        if several():
            on_main_process(self.accelerator, work)
        else:
            work()

    def spread(self, seed: int) -> None:
        """Give each process but the first generators of its own, so that dropout is not the same in all."""
        if not self.is_first:
            seed_everything((seed + 1_000_003 * rank()) % 2**32)

    @contextmanager
    def holding(self, folder: Path) -> Iterator[None]:
        """The lock of a run folder, held by the first process. Raises OutputUnavailable in all of them."""
        with ExitStack() as stack:
            self.check(lambda: stack.enter_context(locked(folder)))
            yield


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 for the products while weights, sums and updates stay fp32; nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def generators_claimed() -> Iterator[None]:
    """Within the block no other thread of this process trains: the generators are those of the process, and each run would
    draw from the seed of the other.

    Raises:
        UsageError: Another thread trains.
    """
    if not _generators.acquire(blocking=False):
        raise UsageError(
            "another thread of this process trains a model, and both would draw from the same generators",
            "Train one after the other, or in processes of their own",
        )
    try:
        yield
    finally:
        _generators.release()


def seed_everything(seed: int) -> None:
    """Start every generator that training draws from: torch (all devices), numpy and random."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def share_of(accelerator: Any, rows: list[int]) -> list[int]:
    """The rows of a step that are this process's. Rows come sorted by length: every n-th gives all processes alike to do."""
    return rows[accelerator.process_index :: accelerator.num_processes]


def sum_gradients(accelerator: Any, model: torch.nn.Module, loss: float, count: int) -> tuple[float, int]:
    """Add up the gradients, the loss and the count of all processes -> loss and count of all.

    Sums and no means, as counts may differ. A parameter that no process has a gradient of is left without one.
    """
    if accelerator.num_processes == 1:
        return loss, count
    learning = [p for p in model.parameters() if p.requires_grad]
    there = torch.tensor([p.grad is not None for p in learning], dtype=torch.float32, device=accelerator.device)
    numbers = torch.tensor([loss, float(count)], dtype=torch.float64, device=accelerator.device)
    there, numbers = accelerator.reduce(there, "sum"), accelerator.reduce(numbers, "sum")
    taking = [p for p, present in zip(learning, there.tolist(), strict=True) if present]
    if taking:
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in taking]
        whole = accelerator.reduce(torch.cat([part.flatten() for part in parts]), "sum")
        for parameter, part in zip(taking, whole.split([p.numel() for p in taking]), strict=True):
            parameter.grad = part.view_as(parameter)
    return float(numbers[0]), int(numbers[1])


def largest(accelerator: Any, numbers: Sequence[int]) -> list[int]:
    """The largest of each of these numbers over all processes: what they must agree on."""
    if accelerator.num_processes == 1:
        return list(numbers)
    all_numbers = accelerator.gather(torch.tensor([list(numbers)], device=accelerator.device))
    return [int(n) for n in all_numbers.max(dim=0).values.tolist()]


def on_main_process(accelerator: Any, work: Callable[[], object]) -> None:
    """Do this in the first process, while the others wait; the error that it raises is raised in all."""
    if accelerator.num_processes == 1:
        work()
        return
    on_each_process(accelerator, work if accelerator.is_main_process else lambda: None, keep=False)


def on_each_process(accelerator: Any, work: Callable[[], Any], *, keep: bool = True) -> list[Any]:
    """What each process makes, by their numbers, in all of them: see `all_gather_json`. The error that one of them raises is
    raised in all, which would else wait for it. keep: False for work that makes nothing."""
    made, told = None, []
    try:
        made = work()
    except HftoolError as error:
        told = [type(error).__name__, error.detail, error.hint]
    parts = all_gather_json(accelerator, [told, made if keep else None])
    told = next((told for told, _ in parts if told), [])
    if told:
        raise {kind.__name__: kind for kind in HftoolError.__subclasses__()}[told[0]](*told[1:])
    return [made for _, made in parts]


def all_gather_json(accelerator: Any, document: Any) -> list[Any]:
    """What each process has, by their numbers, in all of them. It travels as JSON in tensors: accelerate's own way for objects
    pickles."""
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
    """Numbers of numpy as Python's."""
    return value.tolist()
