"""The check that the outputs of a model are numbers."""

import torch

from hftool.errors import DataError


def check_finite(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits (N, V). Raises DataError where one is NaN or infinite: then so is the sum of its row."""
    if not bool(torch.isfinite(logits.sum(dim=-1)).all()):
        raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")
    return logits
