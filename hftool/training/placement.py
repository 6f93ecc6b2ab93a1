"""Where training runs: devices and processes, through accelerate."""

import os
from typing import Any

import torch


def make_accelerator(device: str) -> Any:
    """An accelerate.Accelerator on this device. Arithmetic in bf16 is the loop's own: Accelerator keeps its precision for
    the life of the process, and two runs in one process may differ."""
    if device.startswith("cuda:") or device == "mps":
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    from accelerate import Accelerator

    return Accelerator(cpu=device == "cpu", mixed_precision="no")


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
