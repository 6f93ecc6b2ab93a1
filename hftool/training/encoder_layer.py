"""A layer of BERT or RoBERTa for training on the CPU: bf16 products with their backward pass written out.

Each layer is two autograd functions on tokens without padding, (N, H) in bf16. They keep only what the backward pass needs,
multiply with bf16 copies of the weights, and return bf16 gradients, which autograd adds up in fp32 on the weights themselves.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu, linear

from hftool.engines.dropout_mask import add_dropped, draw_mask, mask_gradient
from hftool.engines.token_layout import TokenLayout

aten = torch.ops.aten
ALL = [True, True, True]  # gradients that the backward pass of a norm returns


class DenseCopy:
    """Weight and bias of a dense layer in bf16; of several layers with the same input, one after the other.

    Args:
        layers: The layers in fp32.
    """

    def __init__(self, *layers: torch.nn.Linear) -> None:
        self.parameters: list[torch.Tensor] = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        sizes = [layer.out_features for layer in layers]
        self.weight = torch.empty(sum(sizes), layers[0].in_features, dtype=torch.bfloat16)
        self.bias = torch.empty(sum(sizes), dtype=torch.bfloat16)
        pairs = zip(torch.split(self.weight, sizes), torch.split(self.bias, sizes), strict=True)
        self.parts = [part for pair in pairs for part in pair]  # of each parameter

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(N, K) -> (N, M)."""
        return linear(states, self.weight, self.bias)

    def refresh(self) -> None:
        """Copy the current parameters."""
        with torch.no_grad():
            torch._foreach_copy_(self.parts, self.parameters)


class LayerWeights:
    """The weights of one layer in fp32, and bf16 copies of its matrices and their biases.

    Args:
        layer: A BertLayer or RobertaLayer.
    """

    def __init__(self, layer: Any) -> None:
        attention, output = layer.attention.self, layer.attention.output
        self.heads: int = attention.num_attention_heads
        self.attention_dropout, self.dropout = attention.dropout.p, output.dropout.p
        self.eps: float = output.LayerNorm.eps
        projections = (attention.query, attention.key, attention.value, output.dense)
        self.attention = _parameters(*projections, output.LayerNorm)
        self.feed_forward = _parameters(layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm)
        self.query, self.key_value = DenseCopy(attention.query), DenseCopy(attention.key, attention.value)
        self.output, self.up, self.down = map(DenseCopy, (output.dense, layer.intermediate.dense, layer.output.dense))

    def refresh(self) -> None:
        """Copy the current weights."""
        for copy in (self.query, self.key_value, self.output, self.up, self.down):
            copy.refresh()


def _parameters(*modules: Any) -> list[torch.nn.Parameter]:
    return [parameter for module in modules for parameter in (module.weight, module.bias)]


@dataclass(frozen=True)
class LayerCall:
    """How a layer runs on one batch.

    Args:
        weights: Of the layer.
        layout: Of the tokens.
        training: Whether dropout is on.
        first_only: Whether only the first token of each row is computed.
    """

    weights: LayerWeights
    layout: TokenLayout
    training: bool
    first_only: bool

    @property
    def dropout(self) -> float:
        """The probability of dropout after dense layers."""
        return self.weights.dropout if self.training else 0.0

    @property
    def attention_dropout(self) -> float:
        """The probability of dropout on attention probabilities."""
        return self.weights.attention_dropout if self.training else 0.0


def run_layer(call: LayerCall, states: torch.Tensor) -> torch.Tensor:
    """(N, H) in bf16 -> (N, H), or (B, H) of first tokens."""
    attended = SelfAttention.apply(states, call, *call.weights.attention)  # type: ignore[no-untyped-call]
    output: torch.Tensor = FeedForward.apply(attended, call, *call.weights.feed_forward)  # type: ignore[no-untyped-call]
    return output


class SelfAttention(torch.autograd.Function):
    """norm(states + dropout(dense(attention(states)))): (N, H) -> (N, H), or (B, H) of first tokens."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, call: LayerCall, *masters: torch.Tensor) -> torch.Tensor:
        """See the class."""
        weights, layout = call.weights, call.layout
        asking = states.index_select(0, layout.first) if call.first_only else states
        query = layout.split_heads(weights.query(asking), weights.heads)
        keys_values = weights.key_value(states).chunk(2, dim=1)
        key, value = (layout.split_heads(part, weights.heads) for part in keys_values)
        context, scores = attend(query, key, value, call)
        context = layout.merge_heads(context)
        summed, mask, scale = add_dropped(asking, weights.output(context), call.dropout)
        output, mean, rstd = torch.native_layer_norm(summed, [summed.shape[1]], masters[-2], masters[-1], weights.eps)
        ctx.save_for_backward(states, query, key, value, *scores[:2], context, mask, summed, mean, rstd, *masters[-2:])
        ctx.call, ctx.scales = call, (scores[2], scale)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradients of the states and of the weights."""
        states, query, key, value, probabilities, kept, context, mask, summed, mean, rstd, *norm = ctx.saved_tensors
        call: LayerCall = ctx.call
        weights, layout, width = call.weights, call.layout, states.shape[1]
        asking = states.index_select(0, layout.first) if call.first_only else states
        residual, *of_norm = aten.native_layer_norm_backward(gradient, summed, [width], mean, rstd, *norm, ALL)
        dense = mask_gradient(residual, mask, ctx.scales[1])
        of_output = _weight_gradients(dense, context)
        context = layout.split_heads(dense @ weights.output.weight, weights.heads)
        parts = attend_backward(context, query, key, value, (probabilities, kept, ctx.scales[0]))
        query, key, value = (layout.merge_heads(part) for part in parts)
        both = torch.cat([key, value], dim=1)
        of_query, (weight, bias) = _weight_gradients(query, asking), _weight_gradients(both, states)
        of_key_value = [one for pair in zip(weight.chunk(2), bias.chunk(2), strict=True) for one in pair]
        of_asking = torch.addmm(residual, query, weights.query.weight)
        if call.first_only:
            of_states = (both @ weights.key_value.weight).index_add_(0, layout.first, of_asking)
        else:
            of_states = torch.addmm(of_asking, both, weights.key_value.weight)
        return of_states, None, *of_query, *of_key_value, *of_output, *of_norm


class FeedForward(torch.autograd.Function):
    """norm(states + dropout(down(gelu(up(states))))): (N, H) -> (N, H)."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, call: LayerCall, *masters: torch.Tensor) -> torch.Tensor:
        """See the class."""
        weights = call.weights
        raised = weights.up(states)
        activated = gelu(raised)
        summed, mask, scale = add_dropped(states, weights.down(activated), call.dropout)
        output, mean, rstd = torch.native_layer_norm(summed, [summed.shape[1]], masters[-2], masters[-1], weights.eps)
        ctx.save_for_backward(states, raised, activated, mask, summed, mean, rstd, *masters[-2:])
        ctx.weights, ctx.scale = weights, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradients of the states and of the weights."""
        states, raised, activated, mask, summed, mean, rstd, *norm = ctx.saved_tensors
        weights: LayerWeights = ctx.weights
        residual, *of_norm = aten.native_layer_norm_backward(gradient, summed, [states.shape[1]], mean, rstd, *norm, ALL)
        dense = mask_gradient(residual, mask, ctx.scale)
        of_down = _weight_gradients(dense, activated)
        inner = aten.gelu_backward(dense @ weights.down.weight, raised)
        of_up = _weight_gradients(inner, states)
        return torch.addmm(residual, inner, weights.up.weight), None, *of_up, *of_down, *of_norm


def _weight_gradients(outputs: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the outputs of a dense layer (N, M), and its inputs (N, K) -> those of its weight (M, K) and bias (M,)."""
    return outputs.t() @ inputs, outputs.sum(dim=0)


Scores = tuple[torch.Tensor, torch.Tensor | None, float]  # probabilities, dropout mask and scale


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: LayerCall) -> tuple[torch.Tensor, Scores]:
    """Attention with dropout: (B, heads, T, width) each -> the context of the same shape, and what its backward pass needs."""
    layout = call.layout
    scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)
    if layout.bias is not None:
        scores.add_(layout.bias)
    probabilities = torch.softmax(scores, -1)
    dropped, mask, scale = probabilities, None, 1.0
    if call.attention_dropout:
        mask, scale = draw_mask(probabilities.shape, call.attention_dropout)
        dropped = (probabilities * mask).mul_(scale)
    return dropped @ value, (probabilities, mask, scale)


def attend_backward(
    context: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scores: Scores
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value, (B, heads, T, width) each, from that of the context."""
    probabilities, mask, scale = scores
    gradient = mask_gradient(context @ value.transpose(-1, -2), mask, scale)
    dropped = mask_gradient(probabilities, mask, scale)
    of_value = dropped.transpose(-1, -2) @ context
    inner = aten._softmax_backward_data(gradient, probabilities, -1, torch.bfloat16)
    inner.mul_(query.shape[-1] ** -0.5)
    return inner @ key, inner.transpose(-1, -2) @ query, of_value
