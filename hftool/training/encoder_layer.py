"""A layer of BERT or RoBERTa for training on the CPU: bf16 products, the forward and backward pass written out.

Both work on tokens without padding, (N, H) in bf16, without autograd. The forward pass returns what the backward pass needs and
nothing else; both multiply with bf16 copies of the weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import gelu, linear

from hftool.engines.dropout_mask import add_dropped, draw_mask, mask_gradient
from hftool.engines.token_layout import TokenLayout

aten = torch.ops.aten
ALL = [True, True, True]  # gradients that the backward pass of a norm returns
Tensors = tuple[Any, ...]  # of one sublayer, kept for its backward pass


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

    Attributes:
        parameters: In fp32, in the order in which `layer_backward` returns their gradients.
    """

    def __init__(self, layer: Any) -> None:
        attention, output = layer.attention.self, layer.attention.output
        inner, outer = layer.intermediate.dense, layer.output.dense
        self.heads: int = attention.num_attention_heads
        self.attention_dropout, self.dropout = attention.dropout.p, output.dropout.p
        self.eps: float = output.LayerNorm.eps
        self.attention_norm, self.norm = _weights(output.LayerNorm), _weights(layer.output.LayerNorm)
        projections = (attention.query, attention.key, attention.value)
        modules = (*projections, output.dense, output.LayerNorm, inner, outer, layer.output.LayerNorm)
        self.parameters = [parameter for module in modules for parameter in _weights(module)]
        self.query_key_value = DenseCopy(*projections)
        self.output, self.up, self.down = map(DenseCopy, (output.dense, inner, outer))

    def refresh(self) -> None:
        """Copy the current weights."""
        for copy in (self.query_key_value, self.output, self.up, self.down):
            copy.refresh()

    def add_gradients(self, gradients: list[torch.Tensor]) -> None:
        """Add to the gradients of the parameters."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = gradient.float()
            else:
                parameter.grad.add_(gradient)


def _weights(module: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    return module.weight, module.bias


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


def run_layer(call: LayerCall, states: torch.Tensor) -> tuple[torch.Tensor, list[Tensors]]:
    """(N, H) in bf16 -> (N, H), or (B, H) of first tokens; and what `layer_backward` needs."""
    attended, of_attention = _attention(call, states)
    output, of_feed_forward = _feed_forward(call, attended)
    return output, [of_attention, of_feed_forward]


def layer_backward(call: LayerCall, kept: list[Tensors], gradient: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The gradients of the states and of the parameters, from that of the output (N, H). `kept` is emptied."""
    gradient, of_feed_forward = _feed_forward_backward(call, kept.pop(), gradient)
    gradient, of_attention = _attention_backward(call, kept.pop(), gradient)
    return gradient, [*of_attention, *of_feed_forward]


def _attention(call: LayerCall, states: torch.Tensor) -> tuple[torch.Tensor, Tensors]:
    """norm(states + dropout(dense(attention(states)))): (N, H) -> (N, H), or (B, H) of first tokens."""
    weights, layout, width = call.weights, call.layout, states.shape[1]
    asking, joint = states, weights.query_key_value
    if call.first_only:
        asking = states.index_select(0, layout.first)
        query = layout.split_heads(linear(asking, joint.weight[:width], joint.bias[:width]), weights.heads)
        key_value = linear(states, joint.weight[width:], joint.bias[width:])
        key, value = layout.split_heads(key_value, weights.heads, 2).chunk(2)
    else:
        query, key, value = layout.split_heads(joint(states), weights.heads, 3).chunk(3)
    context, scores = attend(query, key, value, call)
    context = layout.merge_heads(context)
    summed, mask, scale = add_dropped(asking, weights.output(context), call.dropout)
    output, mean, rstd = torch.native_layer_norm(summed, [width], *weights.attention_norm, weights.eps)
    return output, (states, query, key, value, scores, context, (mask, scale), (summed, mean, rstd))


def _attention_backward(call: LayerCall, kept: Tensors, gradient: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    states, query, key, value, scores, context, (mask, scale), normed = kept
    weights, layout, width, joint = call.weights, call.layout, states.shape[1], call.weights.query_key_value
    residual, *of_norm = _norm_backward(gradient, normed, weights.attention_norm)
    dense = mask_gradient(residual, mask, scale)
    of_output = _weight_gradients(dense, context)
    context = layout.split_heads(dense @ weights.output.weight, weights.heads)
    of_query, *of_key_value = attend_backward(context, query, key, value, scores, layout)
    if call.first_only:
        asking, of_query = states.index_select(0, layout.first), layout.merge_heads(of_query)
        both = layout.merge_heads(torch.cat(of_key_value), 2)
        pairs = zip(_weight_gradients(of_query, asking), _weight_gradients(both, states), strict=True)
        weight, bias = (torch.cat(pair) for pair in pairs)
        of_asking = torch.addmm(residual, of_query, joint.weight[:width])
        of_states = (both @ joint.weight[width:]).index_add_(0, layout.first, of_asking)
    else:
        three = layout.merge_heads(torch.cat([of_query, *of_key_value]), 3)
        weight, bias = _weight_gradients(three, states)
        of_states = torch.addmm(residual, three, joint.weight)
    of_projections = [one for pair in zip(weight.chunk(3), bias.chunk(3), strict=True) for one in pair]
    return of_states, [*of_projections, *of_output, *of_norm]


def _feed_forward(call: LayerCall, states: torch.Tensor) -> tuple[torch.Tensor, Tensors]:
    """norm(states + dropout(down(gelu(up(states))))): (N, H) -> (N, H)."""
    weights = call.weights
    raised = weights.up(states)
    activated = gelu(raised)
    summed, mask, scale = add_dropped(states, weights.down(activated), call.dropout)
    output, mean, rstd = torch.native_layer_norm(summed, [summed.shape[1]], *weights.norm, weights.eps)
    return output, (states, raised, activated, (mask, scale), (summed, mean, rstd))


def _feed_forward_backward(call: LayerCall, kept: Tensors, gradient: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    states, raised, activated, (mask, scale), normed = kept
    weights = call.weights
    residual, *of_norm = _norm_backward(gradient, normed, weights.norm)
    dense = mask_gradient(residual, mask, scale)
    of_down = _weight_gradients(dense, activated)
    inner = aten.gelu_backward(dense @ weights.down.weight, raised)
    of_up = _weight_gradients(inner, states)
    return torch.addmm(residual, inner, weights.up.weight), [*of_up, *of_down, *of_norm]


def _norm_backward(gradient: torch.Tensor, normed: Tensors, norm: Tensors) -> tuple[torch.Tensor, ...]:
    """The gradients of the input (N, H), and of weight and bias (H,) of a layer norm."""
    summed, mean, rstd = normed
    found: tuple[torch.Tensor, ...] = aten.native_layer_norm_backward(
        gradient, summed, [summed.shape[1]], mean, rstd, *norm, ALL
    )
    return found


def _weight_gradients(outputs: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the outputs of a dense layer (N, M), and its inputs (N, K) -> those of its weight (M, K) and bias (M,)."""
    return outputs.t() @ inputs, outputs.sum(dim=0)


Scores = tuple[torch.Tensor, torch.Tensor | None, float]  # probabilities, dropout mask and scale


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, call: LayerCall) -> tuple[torch.Tensor, Scores]:
    """Attention with dropout: (B, heads, T, width) each -> the context of the same shape, and what its backward pass needs."""
    layout = call.layout
    scores = layout.to_scores(query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)
    if layout.bias is not None:
        scores.add_(layout.bias)
    probabilities = torch.softmax(scores, layout.key_dimension)
    dropped, mask, scale = probabilities, None, 1.0
    if call.attention_dropout:
        mask, scale = draw_mask(probabilities.shape, call.attention_dropout)
        dropped = (probabilities * mask).mul_(scale)
    return layout.from_scores(dropped) @ value, (probabilities, mask, scale)


def attend_backward(
    context: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scores: Scores,
    layout: TokenLayout,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value, (B, heads, T, width) each, from that of the context."""
    probabilities, mask, scale = scores
    gradient = mask_gradient(layout.to_scores(context @ value.transpose(-1, -2)), mask, scale)
    dropped = mask_gradient(probabilities, mask, scale)
    of_value = layout.from_scores(dropped).transpose(-1, -2) @ context
    inner = aten._softmax_backward_data(gradient, probabilities, layout.key_dimension, torch.bfloat16)
    inner = layout.from_scores(inner.mul_(query.shape[-1] ** -0.5))
    return inner @ key, inner.transpose(-1, -2) @ query, of_value
