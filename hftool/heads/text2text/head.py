"""Text-to-text generation with an encoder-decoder: translation, summarization, answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, seeds_of, token_loss
from hftool.heads.generate.head import generated_answer
from hftool.heads.long_texts import groups, shorten
from hftool.heads.protocol import Answer, Batch, Feature, GeneratedText, Metrics, Outputs
from hftool.heads.token_batches import encode_batch
from hftool.models import HeadConfig
from hftool.registry.languages import language_of
from hftool.sampling import SamplingParams

MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Text2TextHead:
    """Encodes the model's prefix and a source, and generates a target."""

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    settings: SamplingParams | None = None  # the sampling parameters; by default greedy decoding
    ends: bool = False  # whether an answer has the reason why each text ended

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("max_new_tokens", "prefix")
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("source",), ("target",)),)
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 2048

    @property
    def sampling(self) -> SamplingParams:
        """The sampling parameters."""
        return self.settings or SamplingParams(max_new_tokens=self.head_config.max_new_tokens or MAX_NEW_TOKENS)

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize sources, truncated to max_length, and targets, truncated to max_new_tokens; the end token is kept, as in T5.

        Args:
            rows: Rows with source, and with target, or perhaps a random seed.

        Returns:
            The features; targets are (U,) int32 with their end token.

        Raises:
            UsageError: A limit is too small for any token of a text.
        """
        if not rows:
            return []
        sources = self._ids(
            [self.head_config.prefix + row["source"] for row in rows], self.head_config.max_length, "max_length"
        )
        if "target" not in rows[0]:
            return [Feature(ids, i, truncated=truncated, aux=rows[i].get("seed")) for i, (ids, truncated) in enumerate(sources)]
        targets = self._ids([row["target"] for row in rows], self.head_config.max_new_tokens, "max_new_tokens", target=True)
        return [
            Feature(ids, i, target=labels, truncated=truncated + more)
            for i, ((ids, truncated), (labels, more)) in enumerate(zip(sources, targets, strict=True))
        ]

    def _ids(self, texts: list[str], limit: int, name: str, *, target: bool = False) -> list[tuple[np.ndarray, int]]:
        """At most `limit` token ids of each text, and the number of truncated ones. name: of the limit, for the error."""
        short = [shorten(self.tokenizer, text, limit) for text in texts]
        texts = [text for text, _ in short]
        ids_of = []
        for some in groups(texts):
            if target:
                encoded = self.tokenizer(text_target=texts[some], return_attention_mask=False, verbose=False)["input_ids"]
            else:
                encoded, _ = encode_batch(self.tokenizer, texts[some])
            ids_of += [self._truncated(ids, limit, name) for ids in encoded]
        return [(ids, truncated + rest) for (ids, truncated), (_, rest) in zip(ids_of, short, strict=True)]

    def _truncated(self, ids: Sequence[int], limit: int, name: str) -> tuple[np.ndarray, int]:
        """At most `limit` ids (0 is all), the last one kept, and the number of truncated ids."""
        if limit and len(ids) > limit:
            least = self.tokenizer.num_special_tokens_to_add()
            if limit <= least:
                raise UsageError(f"{name} must be over {least} for this model, not {limit}")
            return np.array([*ids[: limit - 1], ids[-1]], np.int32), len(ids) - limit
        return np.asarray(ids, np.int32), 0

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to a batch.

        Returns:
            input_ids and attention_mask (B, T); with targets labels (B, U), -100 where padded, and decoder_input_ids (B, U),
            the labels shifted by one position after the decoder's start token; with random seeds `seeds` (B,).
        """
        pad = self.tokenizer.pad_token_id
        batch = collate_inputs(features, pad=pad, left=False)
        if features[0].target is not None:
            labels = pad_rows([feature.target for feature in features], fill=IGNORED)
            start = getattr(self.config, "decoder_start_token_id", None)
            shifted = torch.full_like(labels, pad if start is None else start)
            shifted[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad)
            batch["labels"], batch["decoder_input_ids"] = labels, shifted
            return batch
        return {**batch, **seeds_of(features)}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, U, V) against labels (B, U) -> (sum, number of tokens)."""
        return token_loss(outputs["logits"], batch["labels"])

    def decode(self, outputs: Sequence[Sequence[GeneratedText]], features: Sequence[Feature]) -> list[Answer]:
        """The texts generated for each source -> `text`, `finish`, and `samples` where there are several."""
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
        """The metrics of the task; else ROUGE. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004."""
        names = self.head_config.measures or ("rougeL", "rouge1", "rouge2")
        language = language_of(self.head_config.columns.get("target", "").rpartition(".")[2])  # of translation.zh-CN
        return Metrics(names, higher_is_better=True, report="texts", language=language)
