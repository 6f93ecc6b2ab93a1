"""The layers of an encoder on one batch as a single autograd function, which adds the gradients of the weights itself.

With a function for each layer, autograd has nodes, conversions and sums for each of 96 weights of MiniLM.
"""

from collections.abc import Sequence
from typing import Any

import torch

from hftool.engines.token_layout import TokenLayout
from hftool.training.encoder_layer import LayerCall, LayerWeights, Tensors, layer_backward, run_layer


class EncoderPass:
    """The forward and backward pass of all layers on one batch.

    Args:
        layers: The weights of each.
        mask: 1 at tokens and 0 at padding (B, T); each row begins with a token.
        training: Whether dropout is on.
        first_only: Whether the last layer computes only the first token of each row.
    """

    def __init__(self, layers: Sequence[LayerWeights], mask: torch.Tensor, *, training: bool, first_only: bool) -> None:
        self.layout, self.first_only = TokenLayout(mask), first_only
        self.calls = [LayerCall(one, self.layout, training, first_only and one is layers[-1]) for one in layers]
        self.kept: list[list[Tensors]] = []  # of each layer, until its backward pass

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, H) -> (B, T, H) of the same dtype, zero at padding and at all but first tokens if these suffice."""
        packed = self.layout.pack(states).bfloat16()
        for call in self.calls:
            packed, kept = run_layer(call, packed)
            self.kept.append(kept)
        return self.layout.unpack(packed.to(states.dtype))

    def backward(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of the states from that of the output; those of the weights are added to their `grad`."""
        packed = (gradient[:, 0] if self.first_only else self.layout.pack(gradient)).bfloat16()
        for call in reversed(self.calls):
            packed, of_weights = layer_backward(call, self.kept.pop(), packed)
            call.weights.add_gradients(of_weights)
        return self.layout.unpack(packed.to(gradient.dtype))


class Layers(torch.autograd.Function):
    """`EncoderPass` for autograd: states (B, T, H), a weight of the encoder, the pass -> (B, T, H).

    The weight is there so that the backward pass runs where the embeddings are frozen.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, batch: EncoderPass) -> torch.Tensor:
        """See the class."""
        ctx.batch = batch
        with torch.autocast(states.device.type, enabled=False):
            return batch.forward(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradient of the states."""
        with torch.autocast(gradient.device.type, enabled=False):
            return ctx.batch.backward(gradient), None, None
