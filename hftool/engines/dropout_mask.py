"""Dropout on the CPU with masks from 16 random bits an element.

`torch.nn.functional.dropout` draws one element after the other, in one thread, on processors other than Intel's. Here the
default generator fills whole words, so that saved random states and seeds work as before: 4 % of a step on one core.
"""

import math

import torch

LEVELS = 2**16
LEAST = -(2**63)  # of random words; from here up all 64 bits are random
ONE = 0x3F80  # the bits of 1.0 in bf16


def draw_mask(shape: torch.Size, p: float) -> tuple[torch.Tensor, float]:
    """Draw a mask from torch's default generator.

    Args:
        shape: Of the mask.
        p: The share of zeros, below 1; rounded to a multiple of 1 / 65536.

    Returns:
        The mask in bf16, zeros and ones, and the scale that keeps the mean: 1 / (1 - p) for the rounded p.
    """
    size, dropped = math.prod(shape), round(p * LEVELS)
    words = torch.empty((size + 3) // 4, dtype=torch.int64).random_(LEAST, None)
    bits = words.view(torch.int16)[:size]
    bits.ge_(dropped - LEVELS // 2).mul_(ONE)
    return bits.view(torch.bfloat16).view(shape), LEVELS / (LEVELS - dropped)


def add_dropped(residual: torch.Tensor, states: torch.Tensor, p: float) -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """residual + dropout(states), all (N, H) in bf16 -> the sum, the mask (None where p is 0), and its scale."""
    if not p:
        return residual + states, None, 1.0
    mask, scale = draw_mask(states.shape, p)
    return torch.addcmul(residual, states, mask, value=scale), mask, scale


def mask_gradient(gradient: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
    """The gradient of what was dropped, from that of the result."""
    return gradient if mask is None else (gradient * mask).mul_(scale)
