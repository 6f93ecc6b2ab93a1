"""Where training runs: devices and processes, through accelerate."""

import os
from typing import Any

import torch

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
    before = os.environ.get(WISH)
    if device.startswith("cuda:") or device == "mps":
        os.environ[WISH] = device
    try:
        return Accelerator(cpu=device == "cpu", mixed_precision="no")
    finally:
        os.environ.pop(WISH, None)
        if before is not None:
            os.environ[WISH] = before


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 for the products while weights, sums and updates stay fp32; nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def seed_everything(seed: int) -> None:
    """Start every generator that training draws from: torch (all devices), numpy and random."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
