"""Text generation: a decoder that is trained on plain text, or on prompts with completions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, seeds_of, token_loss
from hftool.heads.packing import pack, token_ids
from hftool.heads.protocol import Answer, Batch, Feature, GeneratedText, Metrics, Outputs
from hftool.models import HeadConfig, family_of
from hftool.sampling import SamplingParams

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class GenerateHead:
    """Generates text after a prompt."""

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    # the sampling parameters; by default greedy decoding of at most the model's max_new_tokens
    settings: SamplingParams | None = None
    ends: bool = False  # whether an answer has the reason why each text ended

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("max_new_tokens",)
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (
        RowSchema(("prompt",), ("completion",)),
        RowSchema(("text",), for_inference=False),
    )
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 1024  # each has a logit for every token of the vocabulary

    @property
    def sampling(self) -> SamplingParams:
        """The sampling parameters; by default half of the positions of a small model are left to the prompt."""
        usual = min(MAX_NEW_TOKENS, _positions(self.config) // 2 or MAX_NEW_TOKENS)
        return self.settings or SamplingParams(max_new_tokens=self.head_config.max_new_tokens or usual)

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize rows, all of the kind of the first.

        Args:
            rows: Rows with prompt and completion; with text; or with a prompt, text or token ids, and perhaps a random seed.

        Returns:
            Of prompt and completion: a feature of prompt, completion and end of text, whose target is the position of the first
            token with a loss. Of texts: blocks of max_length tokens with an end of text after each text, target 0, each counted
            as a row. Of prompts: a feature without a target.

        Raises:
            DataError: A prompt and the tokens to generate exceed the model's positions.
            UsageError: max_length or max_new_tokens is too large or too small.
            ConfigError: The tokenizer has no end-of-text token.
        """
        if not rows:
            return []
        if "completion" in rows[0]:
            return self._examples(rows)
        return self._blocks(rows) if "text" in rows[0] else self._prompts(rows)

    def _blocks(self, rows: Sequence[Row]) -> list[Feature]:
        size, end = self._size(), np.array([self._end()], np.int32)
        ended = (part for ids in token_ids(self.tokenizer, [row["text"] for row in rows]) for part in (ids, end))
        return [Feature(block, i, target=0) for i, block in enumerate(pack(ended, size))]

    def _examples(self, rows: Sequence[Row]) -> list[Feature]:
        """Too long a row loses the beginning of its prompt; then, but for its last token, the end of its completion.

        With the completion the end of text is truncated: the text does not end there.
        """
        size, end = self._size(), np.array([self._end()], np.int32)
        prompts = token_ids(self.tokenizer, [row["prompt"] for row in rows])
        completions = token_ids(self.tokenizer, [row["completion"] for row in rows])
        features = []
        for i, (before, after) in enumerate(zip(prompts, completions, strict=True)):
            prompt, target = before if len(before) else self._begin(), np.concatenate([after, end])
            kept = target[: size - 1]
            context = prompt[max(0, len(prompt) + len(kept) - size) :]
            truncated = len(prompt) + len(target) - len(context) - len(kept)
            features.append(Feature(np.concatenate([context, kept]), i, target=len(context), truncated=truncated))
        return features

    def _prompts(self, rows: Sequence[Row]) -> list[Feature]:
        limit, new = _positions(self.config), self.sampling.max_new_tokens
        if limit and new >= limit:
            detail = f"max_new_tokens {new} leaves no room for a prompt: the model takes {limit} tokens in all"
            raise UsageError(detail, f"Set it to at most {limit - 1}")
        features = []
        for i, ids in enumerate(self._prompt_ids([row["prompt"] for row in rows])):
            if limit and len(ids) > limit - new:
                raise DataError(
                    f"prompt {i + 1} has {len(ids)} tokens: with {new} to generate that is more than the {limit} of the model",
                    f"Shorten it to {limit - new} tokens, or set max_new_tokens lower",
                )
            features.append(Feature(ids if len(ids) else self._begin(), i, aux=rows[i].get("seed")))
        return features

    def _prompt_ids(self, prompts: Sequence[str | Sequence[int]]) -> Iterator[np.ndarray]:
        """The token ids (T,) int32 of prompts, texts or token ids. Raises DataError for an id outside of the vocabulary."""
        encoded = token_ids(self.tokenizer, [prompt for prompt in prompts if isinstance(prompt, str)])
        size = int(getattr(self.config, "vocab_size", 0) or len(self.tokenizer))
        for prompt in prompts:
            if isinstance(prompt, str):
                yield next(encoded)
                continue
            unknown = next((token for token in prompt if not 0 <= token < size), None)
            if unknown is not None:
                detail = f"the prompt has the token id {unknown}: the vocabulary of this model has 0 to {size - 1}"
                raise DataError(detail, "Send ids of the model's own tokenizer, or the text")
            yield np.array(prompt, np.int32)

    def _size(self) -> int:
        """The limit of tokens in a training feature, at least 2: the first token is not predicted."""
        size = self.head_config.max_length or _positions(self.config) or 1024
        if size < 2:
            raise UsageError(f"max_length must be over 1 for this model, not {size}")
        return size

    def _begin(self) -> np.ndarray:
        """An empty prompt: the token before the first of a text."""
        begin = self.tokenizer.bos_token_id
        return np.array([self._end() if begin is None else begin], np.int32)

    def _end(self) -> int:
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end-of-text token", "Add one to it: a text could never end")
        return int(end)

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to input_ids and attention_mask (B, T), and with targets labels (B, T), -100 where there is no loss.

        Prompts are padded on the left, so that generated tokens follow them. Labels come from lengths, not from ids: the pad
        token may be the end-of-text token, which has a loss.
        """
        generating = features[0].target is None
        left = generating and (self.config is None or family_of(self.config).prompt_padding_side == "left")
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=left)
        if generating:
            batch |= seeds_of(features)
        else:
            known = [feature.input_ids.astype(np.int64) for feature in features]
            for ids, feature in zip(known, features, strict=True):
                ids[: feature.target] = IGNORED
            batch["labels"] = pad_rows(known, fill=IGNORED)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, V) against the next token in labels (B, T) -> (sum, number of tokens)."""
        return token_loss(outputs["logits"][:, :-1], batch["labels"][:, 1:])

    def decode(self, outputs: Sequence[Sequence[GeneratedText]], features: Sequence[Feature]) -> list[Answer]:
        """The texts generated for each prompt -> `text`, `finish`, and `samples` where there are several."""
        return [generated_answer(self.tokenizer, self.sampling, texts, ends=self.ends) for texts in outputs]

    def join(self, parts: Sequence[Answer]) -> Answer:
        """The only part of the row."""
        return parts[0]

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The text."""
        return "text", answer["text"]

    def margin(self, parts: Sequence[Answer], answer: Answer) -> float:
        """Infinite: nothing is chosen."""
        return math.inf

    def metrics(self) -> Metrics:
        """The metrics of the task; else the loss of a token and its perplexity."""
        return Metrics(
            self.head_config.measures or ("loss", "perplexity"), higher_is_better=False, report="language", answers=False
        )


def generated_answer(
    tokenizer: Any, sampling: SamplingParams, generated: Sequence[GeneratedText], *, ends: bool = False
) -> Answer:
    """The answer of texts that were generated, best first; `ends` adds why each text ended, and its number of tokens.

    Returns:
        The first as `text`, why it ended as `finish`, and all as `samples` where there are several.
    """
    texts = []
    for one in generated:
        text = tokenizer.decode(list(one.ids), skip_special_tokens=True, clean_up_tokenization_spaces=False) + one.rest
        stops = [text.find(stop) for stop in sampling.stop if stop in text]  # not found before: it held special tokens
        texts.append(text[: min(stops)] if stops else text)
    answer: dict[str, Any] = {"text": texts[0], "finish": generated[0].finish}
    if ends:
        answer["ends"] = [(one.finish, len(one.ids)) for one in generated]
    return {**answer, "samples": texts} if len(texts) > 1 else answer


def _positions(config: Any) -> int:
    """The number of positions of the model; 0 where its config has none."""
    return int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 0)
