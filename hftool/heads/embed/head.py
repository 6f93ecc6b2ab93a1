"""Text embeddings: vectors whose cosine similarity measures how alike texts are.

Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019, section 3.1.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import UsageError, did_you_mean, listing
from hftool.heads.collate import collate_inputs
from hftool.heads.long_texts import groups, shorten
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.token_batches import encode_batch
from hftool.models import HeadConfig
from hftool.registry.heads import POOLINGS


@dataclass(frozen=True)
class EmbedHead:
    """A vector for a text, and for a pair of texts a score, the cosine similarity of their vectors.

    Raises:
        UsageError: Any other pooling.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    # the mean of the tokens, the first of them (cls), the maximum of each dimension (max), or the sum divided by the root of
    # their number (mean_sqrt_len_tokens); by default that of the model
    pooling: str = ""

    numbers: ClassVar[bool] = True
    knobs: ClassVar[tuple[str, ...]] = ("prefix",)
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("text", "text_pair"), ("label",)), RowSchema(("text",)))
    outputs: ClassVar[tuple[str, ...]] = ("last_hidden_state",)
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None

    def __post_init__(self) -> None:
        pooling = self._pooling
        if pooling not in POOLINGS:
            hint = did_you_mean(pooling, POOLINGS, otherwise=f"Poolings: {listing(POOLINGS)}")
            raise UsageError(f"unknown pooling '{pooling}'", hint)

    @property
    def _pooling(self) -> str:
        return self.pooling or self.head_config.pooling

    @functools.cached_property
    def _skipped(self) -> int:
        """How many tokens at the beginning of a text are its prompt and not pooled."""
        if self.head_config.pool_prefix or not self.head_config.prefix:
            return 0
        [ids], _ = encode_batch(self.tokenizer, [self.head_config.prefix])
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize texts or pairs, each text truncated to the model's max_length.

        Args:
            rows: Rows with text, and with text_pair and label where they have them.

        Returns:
            A feature for each row; its `aux` is the second text (T2,) int32.

        Raises:
            UsageError: max_length is too small for the special tokens.
        """
        if not rows:
            return []
        firsts = self._ids([row["text"] for row in rows])
        if "text_pair" not in rows[0]:
            return [Feature(ids, i, truncated=truncated) for i, (ids, truncated) in enumerate(firsts)]
        seconds = self._ids([row["text_pair"] for row in rows])
        return [
            Feature(ids, i, target=row.get("label"), truncated=truncated + more, aux=second)
            for i, (row, (ids, truncated), (second, more)) in enumerate(zip(rows, firsts, seconds, strict=True))
        ]

    def _ids(self, texts: list[str]) -> list[tuple[np.ndarray, int]]:
        """The token ids (T,) of each text, and the number of truncated tokens."""
        limit = self.head_config.max_length
        short = [shorten(self.tokenizer, self.head_config.prefix + text, limit) for text in texts]
        texts = [text for text, _ in short]
        found = (ids for some in groups(texts) for ids in encode_batch(self.tokenizer, texts[some])[0])
        encoded = []
        for (text, rest), whole in zip(short, found, strict=True):
            ids = whole
            if limit and len(whole) > limit:
                quiet = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
                ids = self.tokenizer(text, truncation=True, max_length=limit, **quiet)["input_ids"]
            if limit and len(ids) > limit:  # tokenizers does not truncate then
                least = self.tokenizer.num_special_tokens_to_add()
                raise UsageError(f"max_length must be over {least} for this model, not {limit}")
            encoded.append((np.asarray(ids, np.int32), len(whole) - len(ids) + rest))
        return encoded

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to input_ids and attention_mask (B, T), of pairs (2B, T), first texts before second ones.

        With labels (B,) where rows have them, scaled to 0 to 1 where their range is known.
        """
        texts = list(features)
        if features[0].aux is not None:
            texts += [Feature(feature.aux) for feature in features]
        batch = collate_inputs(texts, pad=self.tokenizer.pad_token_id, left=False)
        if features[0].target is not None:
            low, high = self.head_config.label_range or (0.0, 1.0)
            labels = torch.tensor([float(feature.target) for feature in features])
            batch["labels"] = (labels - low) / ((high - low) or 1.0)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Squared error between the cosines of the vectors of last_hidden_state (2B, T, H) and labels (B,) -> (sum, B)."""
        vectors = self._pooled(outputs["last_hidden_state"], batch["attention_mask"])
        labels = batch["labels"]
        return torch.nn.functional.mse_loss(_cosines(vectors), labels, reduction="sum"), len(labels)

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[Answer]:
        """last_hidden_state (B, T, H) -> the embedding (H,) float32 of each text, normalised where the model says so.

        Of pairs (2B, T, H): the similarity, which is the cosine, and the score, which is that on the scale of the labels.
        """
        vectors = self._pooled(outputs["last_hidden_state"], outputs["attention_mask"])
        if features[0].aux is not None:
            low, high = self.head_config.label_range or (0.0, 1.0)
            cosines = _cosines(vectors).tolist()
            return [{"score": low + (high - low) * cosine, "similarity": cosine} for cosine in cosines]
        if self.head_config.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return [{"embedding": vector} for vector in vectors.numpy()]

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States (B, T, H) and mask (B, T) -> vectors (B, H) float32, without padding and unpooled prompts."""
        states, real = states.float(), mask.to(states.device, torch.bool)[:, :, None]
        if self._skipped:
            real = real.clone()
            real[:, : self._skipped] = False
        if self._pooling == "cls":
            return states[torch.arange(len(states)), real[:, :, 0].int().argmax(dim=1)]
        if self._pooling == "max":
            return states.masked_fill(~real, -torch.inf).amax(dim=1)
        count = real.sum(dim=1).clamp(min=1)  # a text may be nothing but its prompt
        return (states * real).sum(dim=1) / (count.sqrt() if self._pooling == "mean_sqrt_len_tokens" else count)

    def join(self, parts: Sequence[Answer]) -> Answer:
        """The only part of the row."""
        return parts[0]

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The vector of a text, or the score of a pair."""
        part = "score" if "score" in answer else "embedding"
        return part, answer[part]

    def margin(self, parts: Sequence[Answer], answer: Answer) -> float:
        """Infinite: nothing is chosen."""
        return math.inf

    def metrics(self) -> Metrics:
        """The metrics of the task; else the correlations of scores and labels: Spearman, Pearson."""
        return Metrics(self.head_config.measures or ("spearman", "pearson"), higher_is_better=True, report="regression")


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (2B, H), first texts before second ones -> the cosine of each pair (B,)."""
    first, second = vectors.chunk(2)
    return torch.nn.functional.cosine_similarity(first, second)
