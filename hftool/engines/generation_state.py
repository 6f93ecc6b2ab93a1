"""A generation in progress: a model, what it remembers, and one step at a time."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch

from hftool.errors import ConfigError, DataError


class GenerationState(Protocol):
    """What an engine does so that texts can be written with it. N rows are being written; which text each one is of is the
    business of the caller."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end a text; none where the model knows none."""
        ...

    @property
    def max_remaining(self) -> tuple[int, ...] | None:
        """For each prompt, how many tokens may follow it until the model has no position left; None where there is no end."""
        ...

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """-> logits (B * copies, V) float32 of the token after each prompt, its copies side by side. Called once."""
        ...

    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """tokens (M,), and which of the N rows each of them goes on from (M,) -> logits (M, V) float32 of the token after it.

        A row that is not named is forgotten, one that is named twice becomes two. rows None: all of them, as they are.
        """
        ...


class TorchGenerationState:
    """Steps of a model in torch, with its cache of keys and values. See `GenerationState`.

    inputs: input_ids and attention_mask (B, T) on the device of the model; a decoder continues them, so they are padded on the
    left, an encoder-decoder answers them. precision: fp32, or bf16 for the products only. Raises DataError when a prompt has
    no tokens or more than the model has positions, ConfigError when an encoder-decoder has no token to start with.
    """

    def __init__(self, model: Any, inputs: Mapping[str, torch.Tensor], precision: str = "fp32") -> None:
        self._model = getattr(model, "module", model)
        self._precision = precision
        self._ids, self._mask = inputs["input_ids"], inputs["attention_mask"]
        self._cache: Any = None
        self._encoded: torch.Tensor | None = None  # (N, T, H): what the encoder made of the prompts
        self._prompts = torch.arange(len(self._mask), device=self._mask.device)  # (N,): whose text each row is
        self._encodes = bool(self._model.config.is_encoder_decoder)
        self.end_ids = end_ids(self._model)
        self.max_remaining = remaining_positions(self._model.config, self._mask.sum(dim=1).tolist())
        if not self._encodes and not bool(self._mask[:, -1].all()):
            raise ValueError("a decoder continues its prompts: pad them on the left")

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. The prompts are computed once, whatever the copies."""
        with self._computing():
            if self._encodes:
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
        with self._computing():
            if rows is not None:
                self._reorder(rows.to(self._mask.device))
            if not self._encodes:
                self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
            return self._forward(tokens.to(self._mask.device)[:, None])

    def _reorder(self, rows: torch.Tensor) -> None:
        """Keep these rows of all that is remembered, in this order."""
        if torch.equal(rows, torch.arange(len(self._mask), device=rows.device)):
            return
        if self._encodes and torch.equal(self._prompts[rows], self._prompts):
            # the beams of a prompt change places: what they know of the prompt is the same for all of them
            self._cache.self_attention_cache.batch_select_indices(rows)
            return
        self._cache.batch_select_indices(rows)
        self._select(rows)

    def _select(self, rows: torch.Tensor) -> None:
        """The part of `_reorder` that is not in the cache."""
        self._mask, self._prompts = self._mask[rows], self._prompts[rows]
        self._encoded = None if self._encoded is None else self._encoded[rows]

    def _forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens (N, T) after those that are remembered -> logits (N, V) after the last of them."""
        given: dict[str, Any] = {"attention_mask": self._mask, "past_key_values": self._cache, "use_cache": True}
        if self._encoded is not None:
            given |= {"decoder_input_ids": tokens, "encoder_outputs": (self._encoded,)}
        else:
            # tokens are counted from the first that is no padding; padding itself is seen by none and may be anywhere
            positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            # the logits of a whole prompt, over a wide vocabulary, would take more memory than all else
            known = _parameters(self._model)
            wanted = {"position_ids": positions, "logits_to_keep": 1}
            given |= {"input_ids": tokens} | {name: value for name, value in wanted.items() if name in known}
        made = self._model(**given)
        self._cache = getattr(made, "past_key_values", None)
        if self._cache is None:  # Mamba and its like remember a state instead
            kind = self._model.config.model_type
            raise ConfigError(f"a {kind} keeps no keys and values to write on from", "Write with plain transformers")
        return made.logits[:, -1].float()  # type: ignore[no-any-return]

    def _computing(self) -> ExitStack:
        """No gradients, and products in the precision that was asked for."""
        stack = ExitStack()
        stack.enter_context(torch.no_grad())  # in inference mode autocast would round the weights anew at every step
        stack.enter_context(torch.autocast(self._mask.device.type, torch.bfloat16, enabled=self._precision == "bf16"))
        return stack


def remaining_positions(config: Any, lengths: Sequence[int]) -> tuple[int, ...] | None:
    """For prompts of so many tokens, how many may follow each; None where there is no end. Raises DataError."""
    if min(lengths) == 0:
        raise DataError("a prompt has no tokens", "Give it a text")
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    if max(lengths) > positions:
        raise DataError(f"a prompt has {max(lengths)} tokens and this model reads {positions}", "Shorten it")
    return tuple(positions - (1 if config.is_encoder_decoder else length) for length in lengths)


def end_ids(model: Any) -> tuple[int, ...]:
    """The tokens that end a text, by the generation settings of a model, else by its config; they may be one, many or none."""
    for settings in (getattr(model, "generation_config", None), model.config):
        known = getattr(settings, "eos_token_id", None)
        if known is not None:
            return tuple(known) if isinstance(known, list | tuple) else (int(known),)
    return ()


def start_id(model: Any) -> int:
    """What stands before the first token of an encoder-decoder's answer. Raises ConfigError."""
    config, settings = model.config, getattr(model, "generation_config", None)
    for source, name in ((config, "decoder_start_token_id"), (settings, "decoder_start_token_id"), (config, "pad_token_id")):
        known = getattr(source, name, None)
        if known is not None:
            return int(known)
    raise ConfigError("the model's config has neither decoder_start_token_id nor pad_token_id", "Add one to its config.json")


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    """What the forward of a model takes; of the model inside, where adapters are around it."""
    inside = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(inside.forward).parameters
