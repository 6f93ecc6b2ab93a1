"""A text gone on with: a decoder that is trained on plain text, or on prompts with their completions."""

from collections.abc import Iterator, Mapping, Sequence
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
from hftool.heads.wire import TEXTS, WRITING, Asks, Parameter, Schema, texts_reply
from hftool.models import HeadConfig, family_of
from hftool.sampling import SamplingParams

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class GenerateHead:
    """Writes on after a prompt. settings: how; by default the most probable tokens, as many as the card allows. ends: whether
    answers tell of each text how it ended."""

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    settings: SamplingParams | None = None
    ends: bool = False

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("max_new_tokens",)
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (
        RowSchema(("prompt",), ("completion",)),
        RowSchema(("text",), for_inference=False),
    )
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 1024  # each has as many logits as there are words
    gives: ClassVar[str] = "text"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **WRITING,
        "return_full_text": Parameter(kind=bool, help="The prompt, and after it what was written."),
    }
    replies: ClassVar[Schema] = TEXTS
    asks: ClassVar[Asks] = Asks(texts={"text": "prompt"}, blank=True, ids=True)

    @property
    def sampling(self) -> SamplingParams:
        """How texts are written. What nobody set leaves half of a small model to the prompt."""
        usual = min(MAX_NEW_TOKENS, _positions(self.config) // 2 or MAX_NEW_TOKENS)
        return self.settings or SamplingParams(max_new_tokens=self.head_config.max_new_tokens or usual)

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows -> features; the first row says of which kind all are.

        With a completion: prompt, completion and end of text in one feature, whose target is the position of the first token
        that is learnt. With text: blocks of the card's max_length, texts run together with an end of text after each, all of
        it learnt (target 0); a block is a row of its own. With a prompt alone, a text or token ids: what to write after,
        without a target; such a row may have a seed, of its draws. Raises DataError when the model cannot take a prompt and
        what it is to write, UsageError when max_length or max_new_tokens leaves no room, ConfigError when the tokenizer has
        no end of text.
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
        """A row that is too long loses the beginning of its prompt; then, but for one token of it, the end of its completion.

        The end of text is lost with it: a text that was cut does not end there.
        """
        size, end = self._size(), np.array([self._end()], np.int32)
        prompts = token_ids(self.tokenizer, [row["prompt"] for row in rows])
        completions = token_ids(self.tokenizer, [row["completion"] for row in rows])
        features = []
        for i, (before, after) in enumerate(zip(prompts, completions, strict=True)):
            prompt, learnt = before if len(before) else self._begin(), np.concatenate([after, end])
            kept = learnt[: size - 1]
            context = prompt[max(0, len(prompt) + len(kept) - size) :]
            cut = len(prompt) + len(learnt) - len(context) - len(kept)
            features.append(Feature(np.concatenate([context, kept]), i, target=len(context), cut=cut))
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
                    f"prompt {i + 1} has {len(ids)} tokens: with {new} to write that is more than the {limit} the model takes",
                    f"Shorten it to {limit - new} tokens, or set max_new_tokens lower",
                )
            features.append(Feature(ids if len(ids) else self._begin(), i, extra=rows[i].get("seed")))
        return features

    def _prompt_ids(self, prompts: Sequence[str | Sequence[int]]) -> Iterator[np.ndarray]:
        """The token ids (T,) int32 of prompts that are texts, or token ids already. Raises DataError for an id that the model
        has no embedding of."""
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
        """Tokens of a feature that is trained on. The first has nothing before it that would predict it."""
        size = self.head_config.max_length or _positions(self.config) or 1024
        if size < 2:
            raise UsageError(f"max_length must be over 1 for this model, not {size}")
        return size

    def _begin(self) -> np.ndarray:
        """What stands for an empty prompt: the token after which a text begins."""
        begin = self.tokenizer.bos_token_id
        return np.array([self._end() if begin is None else begin], np.int32)

    def _end(self) -> int:
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end-of-text token", "Add one to it: a text could never end")
        return int(end)

    def collate(self, features: Sequence[Feature], draw: int = 0) -> Batch:
        """-> input_ids and attention_mask (B, T). With targets also labels (B, T), -100 where nothing is learnt, padded on the
        right; prompts are padded on the left, so that what is written follows them.

        Labels come from the lengths and not from the ids: where the pad token is the end of text, the end is learnt still.
        """
        writing = features[0].target is None
        left = writing and (self.config is None or family_of(self.config).writing_side == "left")
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=left)
        if writing:
            batch |= seeds_of(features)
        else:
            known = [feature.input_ids.astype(np.int64) for feature in features]
            for ids, feature in zip(known, features, strict=True):
                ids[: feature.target] = IGNORED
            batch["labels"] = pad_rows(known, fill=IGNORED)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, V), each against the token after it in labels (B, T) -> (sum, tokens)."""
        return token_loss(outputs["logits"][:, :-1], batch["labels"][:, 1:])

    def decode(self, outputs: Sequence[Sequence[GeneratedText]], features: Sequence[Feature]) -> list[Answer]:
        """What was written after each prompt -> text, finish, and samples where there is more than one."""
        return [generated_answer(self.tokenizer, self.sampling, texts, ends=self.ends) for texts in outputs]

    def join(self, parts: Sequence[Answer]) -> Answer:
        """A row has one part."""
        return parts[0]

    def metrics(self) -> Metrics:
        """The loss of a token, and the perplexity that it is the logarithm of."""
        return Metrics(
            self.head_config.measures or ("loss", "perplexity"), higher_is_better=False, report="language", answers=False
        )

    def reply(self, row: Row, answer: Answer, parameters: Mapping[str, Any]) -> list[dict[str, str]]:
        """The texts."""
        return texts_reply(answer, row["prompt"] if parameters.get("return_full_text") else "")


def generated_answer(
    tokenizer: Any, sampling: SamplingParams, written: Sequence[GeneratedText], *, ends: bool = False
) -> Answer:
    """The texts that were written for a prompt, the best first -> the first as `text`, why it ended as `finish`, and all of
    them as `samples` where there is more than one. ends: with why each ended, and how many tokens it has, as `ends`."""
    texts = []
    for one in written:
        text = tokenizer.decode(list(one.ids), skip_special_tokens=True, clean_up_tokenization_spaces=False) + one.rest
        stops = [text.find(word) for word in sampling.stop if word in text]  # special tokens may have stood between its parts
        texts.append(text[: min(stops)] if stops else text)
    answer: dict[str, Any] = {"text": texts[0], "finish": written[0].finish}
    if ends:
        answer["ends"] = [(one.finish, len(one.ids)) for one in written]
    return {**answer, "samples": texts} if len(texts) > 1 else answer


def _positions(config: Any) -> int:
    """The most tokens that the model can take; 0 when it does not say."""
    return int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 0)
