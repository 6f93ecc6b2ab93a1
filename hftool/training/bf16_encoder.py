"""Training of BERT and RoBERTa in bf16 on the CPU: the layers without padding, weights cast once a step.

Weights, their gradients and the optimizer stay in fp32. Only batches in training run this way; evaluation and checkpoints use
the model itself. A small batch decides whether outputs and gradients are those of the model; otherwise it trains as it is.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from hftool.training.embedding_rows import embedding_rows
from hftool.training.encoder_layer import LayerWeights
from hftool.training.encoder_pass import EncoderPass, Layers

LAYERS = tuple(
    f"transformers.models.{name}" for name in ("bert.modeling_bert.BertLayer", "roberta.modeling_roberta.RobertaLayer")
)
TOLERANCE = 0.1  # largest relative error (2-norm) of outputs and gradients against fp32: of bf16 0.03, of a wrong layer 0.4
MAX_DROPOUT = 0.99


class Bf16Encoder:
    """The encoder of a model, for training.

    Args:
        model: A model of transformers whose layers are of LAYERS.

    Attributes:
        first_only: Whether the outputs of the model depend on the first tokens of the last layer alone: the others are then
            left out, which saves 9 % of a step with 6 layers.
        rows: The gradient of the word embedding; None if it is computed as a whole.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.encoder = model, model.base_model.encoder
        self.layers = [LayerWeights(layer) for layer in self.encoder.layer]
        self.rows = embedding_rows(model)
        self.first_only = False

    def refresh(self) -> None:
        """Copy the current weights; call it after each step of the optimizer."""
        for layer in self.layers:
            layer.refresh()

    def store(self) -> None:
        """Make all gradients dense; call it before each step of the optimizer."""
        if self.rows is not None:
            self.rows.store()

    @contextmanager
    def running(self, mask: torch.Tensor) -> Iterator[None]:
        """Within the block, the model runs a batch with this mask (B, T) in bf16 without padding.

        A batch with a row that does not begin with a token runs as before.
        """
        if not bool(mask[:, 0].all()):
            yield
            return
        self.encoder.forward = lambda hidden_states, *args, **kwargs: self._outputs(hidden_states, mask)
        rows = self.rows
        if rows is not None:
            rows.module.forward = rows.__call__
        try:
            yield
        finally:
            del self.encoder.forward
            if rows is not None:
                del rows.module.forward

    def _outputs(self, states: torch.Tensor, mask: torch.Tensor) -> Any:
        """(B, T, H) -> the outputs of the encoder, with last_hidden_state (B, T, H) in the dtype of the input."""
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

        batch = EncoderPass(self.layers, mask, training=self.encoder.training, first_only=self.first_only)
        outputs: Any = Layers.apply(states, self.layers[0].parameters[0], batch)  # type: ignore[no-untyped-call]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=outputs)


def running(encoder: Bf16Encoder | None, mask: torch.Tensor) -> AbstractContextManager[None]:
    """`Bf16Encoder.running`; without an encoder the model runs as it is."""
    return nullcontext() if encoder is None else encoder.running(mask)


def bf16_encoder(model: Any) -> Bf16Encoder | None:
    """The encoder of a model for training in bf16 on the CPU; None if the model is not one of those that run this way."""
    if not _is_supported(model):
        return None
    was_training = model.training
    model.eval()
    try:
        return _checked(model)
    finally:
        model.train(was_training)


def _is_supported(model: Any) -> bool:
    """Whether a model is a BERT or RoBERTa of plain layers, all of them trainable in fp32 and on the CPU."""
    config = getattr(model, "config", None)
    layers = getattr(getattr(getattr(model, "base_model", None), "encoder", None), "layer", None)
    if config is None or not layers or getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return False
    if any(f"{type(layer).__module__}.{type(layer).__name__}" not in LAYERS for layer in layers):
        return False
    recomputed = any(getattr(layer, "gradient_checkpointing", False) for layer in layers)
    if config.hidden_act != "gelu" or config.chunk_size_feed_forward or recomputed:
        return False
    if max(config.hidden_dropout_prob, config.attention_probs_dropout_prob) > MAX_DROPOUT:
        return False
    modules = [module for layer in layers for module in layer.modules() if "weight" in module._parameters]
    weights = [parameter for layer in layers for parameter in layer.parameters()]
    plain = all(type(module) in (torch.nn.Linear, torch.nn.LayerNorm) for module in modules)  # not those of adapters
    return plain and all(p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in weights)


def _checked(model: Any) -> Bf16Encoder | None:
    """The encoder if a small batch has the outputs and gradients of the model; with first tokens alone if these suffice."""
    try:
        encoder = Bf16Encoder(model)
        encoder.refresh()
        expected = _probe(model, None)
        for encoder.first_only in (True, False):
            if _is_close(_probe(model, encoder), expected):
                return encoder
    except (RuntimeError, ValueError, AttributeError, TypeError, LookupError):  # an unexpected architecture
        pass
    return None


def _probe(model: Any, encoder: Bf16Encoder | None) -> list[torch.Tensor]:
    """The outputs of a small batch, and gradients of a sum of them: of the embeddings' norm, the first and the last layer."""
    mask = (torch.arange(9)[None] < torch.tensor([9, 4, 4, 2])[:, None]).long()
    ids = torch.arange(36).view(4, 9) % model.config.vocab_size
    layers = model.base_model.encoder.layer
    wanted = [p for p in [model.base_model.embeddings.LayerNorm.weight] if p.requires_grad]
    wanted += [p for layer in (layers[0], layers[-1]) for n, p in layer.named_parameters() if n.endswith("weight")]
    try:
        with torch.enable_grad(), running(encoder, mask):
            outputs = model(input_ids=ids, attention_mask=mask)[0]
        if outputs.shape[:2] == mask.shape:  # the outputs at padding are meaningless
            outputs = outputs[mask.bool()]
        signs = torch.arange(outputs.numel()).view(outputs.shape) % 2 * 2.0 - 1  # a sum over a normed output is constant
        (outputs * signs).sum().backward()
        return [outputs.detach(), *(parameter.grad.clone() for parameter in wanted)]
    finally:
        model.zero_grad()


def _is_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    """Whether each tensor differs from the expected one by at most TOLERANCE of its norm."""
    return all(bool((a - b).norm() <= TOLERANCE * b.norm()) for a, b in zip(found, expected, strict=True))
