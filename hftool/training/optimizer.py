"""Optimizers, their saved state, and the learning rate schedule."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

NOT_DECAYED = ("bias", "layernorm", "layer_norm", "ln_1", "ln_2", "ln_f")  # parts of the names of norms and biases
MOMENTUM = 0.9  # of sgd


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights with decay, biases and norms without (Devlin et al., "BERT", 2019, appendix A.2)."""
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            excluded = any(part in name.lower() for part in NOT_DECAYED)
            (plain if excluded else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def make_optimizer(name: str, model: torch.nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """adamw, adam (decay as part of the gradient), sgd (momentum 0.9) or adafactor (Shazeer and Stern, 2018)."""
    groups = parameter_groups(model, weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)  # Loshchilov and Hutter, 2019
    if name == "adam":
        return torch.optim.Adam(groups, lr=lr, fused=True)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, fused=True)
    return torch.optim.Adafactor(groups, lr=lr)


def scale_and_clip(parameters: Iterable[torch.nn.Parameter], count: int, clip: float) -> float:
    """Divide summed gradients by a count, and clip them to a norm.

    Args:
        parameters: Their `grad` is changed in place; a sparse one is coalesced.
        count: What the loss is a sum over.
        clip: The largest norm; 0 for any.

    Returns:
        The norm before clipping. Gradients whose norm is not finite are not clipped.
    """
    gradients = [_values(parameter) for parameter in parameters if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients)) / count
    factor = (min(1.0, clip / (norm + 1e-6)) if clip and math.isfinite(norm) else 1.0) / count
    for gradient in gradients:
        gradient.mul_(factor)
    return norm


def _values(parameter: torch.nn.Parameter) -> torch.Tensor:
    """The gradient of a parameter; of a sparse one its rows, each once."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return gradient
    parameter.grad = gradient.coalesce()
    return parameter.grad.values()


def schedule_factor(name: str, step: int, *, total: int, warmup: int) -> float:
    """The factor on the learning rate at a step. It depends on the step alone: there is no state to save.

    Args:
        name: linear decays to 0 after the last step, cosine likewise along half a period, constant does not.
        step: From 0.
        total: The number of steps.
        warmup: The number of steps at the start in which the factor rises linearly to 1.
    """
    if step < warmup:
        return (step + 1) / warmup
    if name == "constant":
        return 1.0
    left = (total - step) / max(1, total - warmup)
    return left if name == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left)))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of an optimizer: tensors for safetensors, and the rest for JSON. `unpack_optimizer` reverses it."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                scalars[f"{index}.{key}"] = value
    return tensors, {"scalars": scalars}


def unpack_optimizer(optimizer: torch.optim.Optimizer, folder: Path, plain: dict[str, Any]) -> None:
    """Restore the state that `pack_optimizer` saved; parameter groups keep the settings of the optimizer."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**load_file(str(folder / "optimizer.safetensors")), **plain["scalars"]}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
