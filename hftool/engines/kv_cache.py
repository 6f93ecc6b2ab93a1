"""Generation with a key-value cache, one token at a time, in torch."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch

from hftool.engines.cache_argument import cache_name, cache_of
from hftool.errors import ConfigError, DataError


class GenerationState(Protocol):
    """N sequences in generation and their cache; the caller knows which text each of them is."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end a text; empty where the model defines none."""
        ...

    @property
    def max_remaining(self) -> tuple[int, ...] | None:
        """How many tokens may follow each prompt before the positions of the model are used up; None: any number."""
        ...

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """Run the prompts, once -> logits (B * copies, V) float32 of the next token; copies of a prompt are consecutive."""
        ...

    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Run one more token for each sequence.

        Args:
            tokens: (M,).
            rows: Which of the N sequences each token continues (M,): those left out are dropped, one that occurs twice is
                duplicated. None: all of them in order.

        Returns:
            Logits (M, V) float32 of the token after each.
        """
        ...


class TorchGenerationState:
    """A generation in torch. See `GenerationState`.

    Args:
        model: A decoder or an encoder-decoder of transformers.
        inputs: input_ids and attention_mask (B, T) on the device of the model, padded on the left for a decoder.
        precision: fp32, or bf16 for matrix products only.

    Raises:
        DataError: A prompt has no tokens, or more than the model has positions.
        ConfigError: An encoder-decoder has no start token.
    """

    def __init__(self, model: Any, inputs: Mapping[str, torch.Tensor], precision: str = "fp32") -> None:
        self._model = getattr(model, "module", model)
        self._precision = precision
        self._ids, self._mask = inputs["input_ids"], inputs["attention_mask"]
        self._cache: Any = None
        self._encoded: torch.Tensor | None = None  # (N, T, H): the encoder's output for the prompts
        self._prompts = torch.arange(len(self._mask), device=self._mask.device)  # (N,): the prompt of each sequence
        self._has_encoder = bool(self._model.config.is_encoder_decoder)
        self.end_ids = end_ids(self._model)
        self.max_remaining = remaining_positions(self._model.config, self._mask.sum(dim=1).tolist())
        if not self._has_encoder and not bool(self._mask[:, -1].all()):
            raise ValueError("a decoder continues its prompts: pad them on the left")

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. Prompts are computed once, however many copies there are."""
        with self._autocast():
            if self._has_encoder:
                self._encoded = self._model.get_encoder()(input_ids=self._ids, attention_mask=self._mask)[0]
                logits = self._forward(torch.full_like(self._ids[:, :1], start_id(self._model)))
            else:
                logits = self._forward(self._ids)
            if copies > 1:
                self._cache.batch_repeat_interleave(copies)
                self._select(torch.arange(len(logits), device=logits.device).repeat_interleave(copies))
                logits = logits.repeat_interleave(copies, dim=0)
        return logits

    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """See `GenerationState.decode`."""
        with self._autocast():
            if rows is not None:
                self._reorder(rows.to(self._mask.device))
            if not self._has_encoder:
                self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
            return self._forward(tokens.to(self._mask.device)[:, None])

    def _reorder(self, rows: torch.Tensor) -> None:
        """Keep these sequences of the state, in this order."""
        if torch.equal(rows, torch.arange(len(self._mask), device=rows.device)):
            return
        if self._has_encoder and torch.equal(self._prompts[rows], self._prompts):
            # beams of a prompt are reordered: they share the cross-attention cache of the prompt
            self._cache.self_attention_cache.batch_select_indices(rows)
            return
        self._cache.batch_select_indices(rows)
        self._select(rows)

    def _select(self, rows: torch.Tensor) -> None:
        """The part of `_reorder` outside of the cache."""
        self._mask, self._prompts = self._mask[rows], self._prompts[rows]
        self._encoded = None if self._encoded is None else self._encoded[rows]

    def _forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens (N, T) after those in the cache -> logits (N, V) after the last of them."""
        inputs: dict[str, Any] = {"attention_mask": self._mask, cache_name(): self._cache, "use_cache": True}
        if self._encoded is not None:
            inputs |= {"decoder_input_ids": tokens, "encoder_outputs": (self._encoded,)}
        else:
            # positions count from the first token that is not padding; padding is masked, so its position does not matter
            positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            # the logits of every token of a prompt would take more memory than everything else
            known = _parameters(self._model)
            optional = {"position_ids": positions, "logits_to_keep": 1}
            inputs |= {"input_ids": tokens} | {name: value for name, value in optional.items() if name in known}
        outputs = self._model(**inputs)
        self._cache = cache_of(outputs)
        if self._cache is None:  # Mamba, for example, has a state instead
            kind = self._model.config.model_type
            raise ConfigError(f"a {kind} has no key-value cache to generate with", "Generate with transformers itself")
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]

    def _autocast(self) -> ExitStack:
        """No gradients, and matrix products in the requested precision."""
        stack = ExitStack()
        stack.enter_context(torch.no_grad())  # in inference mode autocast would convert the weights again at every step
        stack.enter_context(torch.autocast(self._mask.device.type, torch.bfloat16, enabled=self._precision == "bf16"))
        return stack


def remaining_positions(config: Any, lengths: Sequence[int]) -> tuple[int, ...] | None:
    """How many tokens may follow prompts of these lengths; None: any number.

    Raises:
        DataError: A prompt is empty, or longer than the model.
    """
    if min(lengths) == 0:
        raise DataError("a prompt has no tokens", "Give it a text")
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    if max(lengths) > positions:
        raise DataError(f"a prompt has {max(lengths)} tokens and this model reads {positions}", "Shorten it")
    return tuple(positions - (1 if config.is_encoder_decoder else length) for length in lengths)


def end_ids(model: Any) -> tuple[int, ...]:
    """The end tokens in the generation config of a model, else in its config; there may be one, several or none."""
    for settings in (getattr(model, "generation_config", None), model.config):
        known = getattr(settings, "eos_token_id", None)
        if known is not None:
            return tuple(known) if isinstance(known, list | tuple) else (int(known),)
    return ()


def start_id(model: Any) -> int:
    """The token that a decoder after an encoder starts from. Raises ConfigError."""
    config, settings = model.config, getattr(model, "generation_config", None)
    for source, name in ((config, "decoder_start_token_id"), (settings, "decoder_start_token_id"), (config, "pad_token_id")):
        known = getattr(source, name, None)
        if known is not None:
            return int(known)
    raise ConfigError("the model's config has neither decoder_start_token_id nor pad_token_id", "Add one to its config.json")


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a model's forward; of the base model where adapters wrap it."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(base.forward).parameters
