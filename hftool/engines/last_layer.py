"""The inputs of the last linear layer of a model, which are its own vectors of texts and tokens."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def last_layer_inputs(model: Any) -> Iterator[list[torch.Tensor]]:
    """Within the block, each forward pass of a model of torch appends what its last linear layer reads: (B, H) or (B, T, H)."""
    found: list[torch.Tensor] = []
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    handle = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()


def row_vectors(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Vectors (B, H) as they are; those of tokens (B, T, H) averaged over the tokens of mask (B, T). float32 on the CPU."""
    if states.ndim == 3:
        weights = mask.to(states.device, torch.float32)[:, :, None]
        states = (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    return states.float().cpu()
