"""Linear layers for inference on the CPU in three number formats, with bias, activation and residual addition in one call.

The weights are converted and reordered once, or fp32 runs on the model's own weights. An output row depends on its input row
alone; the number of rows changes the last bits of fp32 and bf16.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F

ROWS = 8  # for which weights are reordered; the layout serves other numbers as well
INT8_LEVELS = 127.0
INPUT_ZERO = 128  # the 8-bit level of an input of 0
# by its name in the config of transformers: the name and the algorithm of a fused activation
ACTIVATIONS = {
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
}
NO_ACTIVATION = ("none", "")
BLOCK = 4096  # weight rows that are quantized at a time, so that no second fp32 copy of a large weight is made


class FusedLinear(Protocol):
    """x (M, K) -> act(x @ weight.T + bias) (M, N)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activated output (M, N), in the number format of the layer or float32."""
        ...

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return residual + x @ weight.T + bias, (M, N) float32."""
        ...


class Fp32Linear:
    """A linear layer in float32 on the model's own weights.

    Args:
        weight: (N, K), in any memory order; it is not copied.
        bias: (N,).
        activation: One of `ACTIVATIONS`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = NO_ACTIVATION) -> None:
        self._weight, self._bias, self._activation = weight, bias, activation
        # for one row MKL's matrix-vector product is faster where the memory order is (K, N), as in GPT-2
        self._by_column = weight.t() if bias is not None and weight.t().is_contiguous() else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear`."""
        if len(x) > 1 or self._by_column is None:
            return _pointwise(x, self._weight, self._bias, self._activation)
        output = torch.addmm(self._bias, x, self._by_column)  # type: ignore[arg-type]
        return _activated(output, self._activation)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear.add_to`."""
        if len(x) > 1 or self._by_column is None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")  # type: ignore[no-any-return]
        return torch.addmm(self._bias, x, self._by_column).add_(residual)  # type: ignore[arg-type]


class PackedLinear:
    """A linear layer in float32 on a reordered copy of the weights. Arguments as for `Fp32Linear`.

    For 8 rows its products take two thirds of the time of those of `Fp32Linear`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = NO_ACTIVATION) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self._bias, self._activation = bias, activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear`."""
        return _pointwise(x, self._weight, self._bias, self._activation)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear.add_to`."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")  # type: ignore[no-any-return]


class Bf16Linear:
    """A linear layer with weights and products in bfloat16, sums in float32. Arguments as for `Fp32Linear`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = NO_ACTIVATION) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16(), ROWS)
        self._bias = None if bias is None else bias.bfloat16()
        self._activation = activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear`."""
        return _pointwise(x.bfloat16(), self._weight, self._bias, self._activation)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear.add_to`."""
        return residual + self(x)


class Int8Linear:
    """A linear layer with int8 weights, one scale for each output, and 8-bit inputs, one scale for each row of each batch.

    Products and their sums are exact integers. Arguments as for `Fp32Linear`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str] = NO_ACTIVATION) -> None:
        largest = weight.abs().amax(dim=1)
        steps = largest.clamp(min=torch.finfo(torch.float32).tiny) / INT8_LEVELS
        rows = zip(torch.split(weight, BLOCK), torch.split(steps, BLOCK), strict=True)
        # contiguous: the reordering takes any other tensor for a contiguous one (torch 2.13)
        levels = torch.cat([(part / step[:, None]).round_().to(torch.int8).contiguous() for part, step in rows])
        self._weight = torch.ops.onednn.qlinear_prepack(levels, [ROWS, weight.shape[1]])
        self._scales, self._zeros = steps / INT8_LEVELS, torch.zeros(len(steps), dtype=torch.int32)
        # what the zero point of the inputs adds to every product; as a bias it costs less than in the kernel (generate, int8)
        self._shift = levels.sum(dim=1) * self._scales * -INPUT_ZERO
        self._bias = bias
        self._activation = activation
        self._offset = torch.full((1,), INPUT_ZERO + 0.5)  # 0.5 to round

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear`."""
        products, largest = self._products(x)
        output = products.mul_(largest) if self._bias is None else torch.addcmul(self._bias, products, largest)
        return _activated(output, self._activation)

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `FusedLinear.add_to`."""
        products, largest = self._products(x)
        output = torch.addcmul(residual, products, largest)
        return output if self._bias is None else output.add_(self._bias)

    def _products(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (M, K) -> (M, N) and (M, 1): their product is x @ weight.T. NaN and infinity in a row make the row NaN."""
        largest = x.abs().amax(dim=1, keepdim=True)
        # u8 inputs: with s8 torch 2.13 runs a kernel that is 200 times slower. A row of zeros gives anything, times 0.
        levels = torch.addcdiv(self._offset, x, largest, value=INT8_LEVELS).byte()
        products = torch.ops.onednn.qlinear_pointwise.default(
            levels, 1.0, 0, self._weight, self._scales, self._zeros, self._shift, 1.0, 0, torch.float32, "none", [], ""
        )
        return products, largest


FORMATS: dict[str, Any] = {"fp32": Fp32Linear, "packed": PackedLinear, "bf16": Bf16Linear, "int8": Int8Linear}


def _pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: tuple[str, str]) -> torch.Tensor:
    name, algorithm = activation
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, name, [], algorithm)  # type: ignore[no-any-return]


def _activated(x: torch.Tensor, activation: tuple[str, str]) -> torch.Tensor:
    name, algorithm = activation
    if name == "gelu":
        return F.gelu(x, approximate=algorithm)
    return F.relu_(x) if name == "relu" else x
