"""One label for a text or a pair of texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hftool.data.sources import Row
from hftool.errors import UsageError
from hftool.heads.protocol import Answer, Feature, Metrics
from hftool.models import Card

ROLES = ("text", "text_pair", "label")


@dataclass(frozen=True)
class ClassifyHead:
    """Scores C labels for each row; the label names and the length limit come from the card."""

    tokenizer: Any
    card: Card

    auto_class = "AutoModelForSequenceClassification"

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows with text, and text_pair and label if they have them -> features, cut at the card's max_length.

        Raises UsageError when not even the special tokens fit into it.
        """
        if not rows:
            return []
        texts = [self.card.prefix + row["text"] for row in rows]
        pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
        encoded = self.tokenizer(texts, pairs, return_attention_mask=False, verbose=False)
        ids, segments = encoded["input_ids"], encoded.get("token_type_ids")
        features = []
        for i, row in enumerate(rows):
            row_ids, row_segments, cut = ids[i], segments[i] if segments and pairs else None, 0
            if self.card.max_length and len(row_ids) > self.card.max_length:
                row_ids, row_segments = self._cut(texts[i], pairs[i] if pairs else None)
                cut = len(ids[i]) - len(row_ids)
                if len(row_ids) > self.card.max_length:
                    least = self.tokenizer.num_special_tokens_to_add(pair=bool(pairs))
                    raise UsageError(f"max_length must be over {least} for this model, not {self.card.max_length}")
            features.append(Feature(np.array(row_ids, np.int32), _array(row_segments), row.get("label"), cut))
        return features

    def _cut(self, text: str, pair: str | None) -> tuple[list[int], list[int] | None]:
        """The longer text of a pair is cut first."""
        encoded = self.tokenizer(text, pair, truncation=True, max_length=self.card.max_length, return_attention_mask=False)
        return encoded["input_ids"], encoded.get("token_type_ids") if pair is not None else None

    def collate(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """-> input_ids and attention_mask (B, T), token_type_ids (B, T) for pairs, labels (B,) where rows have them."""
        length = max(feature.length for feature in features)
        ids = np.full((len(features), length), self.tokenizer.pad_token_id, dtype=np.int64)
        mask, segments = np.zeros_like(ids), np.zeros_like(ids)
        left = self.tokenizer.padding_side == "left"
        for i, feature in enumerate(features):
            place = slice(length - feature.length, length) if left else slice(0, feature.length)
            ids[i, place] = feature.input_ids
            mask[i, place] = 1
            if feature.segments is not None:
                segments[i, place] = feature.segments
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if features[0].segments is not None:
            batch["token_type_ids"] = torch.from_numpy(segments)
        if features[0].target is not None:
            batch["labels"] = torch.tensor([feature.target for feature in features])
        return batch

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, C) against labels (B,), summed over rows; class weights average 1 over the data."""
        weights = self.card.class_weights
        weight = torch.tensor(weights, device=outputs.device) if weights else None
        labels = batch["labels"]
        return torch.nn.functional.cross_entropy(outputs.float(), labels, weight=weight, reduction="sum"), len(labels)

    def decode(self, outputs: torch.Tensor, features: Sequence[Feature]) -> list[Answer]:
        """Logits (B, C) -> label, its probability, and the probabilities of all labels by name."""
        answers = []
        for row in torch.softmax(outputs.double(), dim=-1).tolist():
            best = max(range(len(row)), key=row.__getitem__)
            answers.append(
                {
                    "label": self.card.labels[best],
                    "probability": row[best],
                    "probabilities": dict(zip(self.card.labels, row, strict=True)),
                }
            )
        return answers

    def metrics(self) -> Metrics:
        """Accuracy decides; macro-F1 beside it tells when rare labels are missed."""
        return Metrics(("accuracy", "macro_f1"), higher_is_better=True, report="classification")


def _array(values: list[int] | None) -> np.ndarray | None:
    return None if values is None else np.array(values, np.int32)


def balanced_weights(labels: Sequence[int], count: int) -> tuple[float, ...]:
    """Weight of each of `count` classes: n / (count * n_c), so that the mean over the rows is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001; as scikit-learn's class_weight="balanced".
    """
    totals = np.bincount(np.asarray(labels), minlength=count)
    return tuple(float(len(labels) / (count * n)) if n else 0.0 for n in totals)
