"""Text classification and regression: a label, any number of labels, or a number for a text or a pair of texts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import UsageError
from hftool.heads.collate import collate_inputs
from hftool.heads.long_texts import groups, shorten
from hftool.heads.margins import margin_of, threshold_margin
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.token_batches import encode_batch
from hftool.models import HeadConfig

CHARS_PER_TOKEN = 16  # more than most tokens have
LABEL_METRICS, NUMBER_METRICS = ("accuracy", "macro_f1"), ("mean_absolute_error", "pearson", "spearman")
SET_METRICS = ("micro_f1", "macro_f1", "samples_f1", "subset_accuracy")


@dataclass(frozen=True)
class ClassifyHead:
    """Scores C labels for each row, or one number under the problem type "regression".

    Under "multi_label_classification" a row has each label whose probability reaches its threshold, which may be none.

    T5 scores each token of its encoder; the score of a row is the mean over its tokens.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("class_weights", "labels", "labels_sep", "prefix", "thresholds")
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("text",), ("label",), ("text_pair",)),)
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize text, or text and text_pair, truncated to the model's max_length.

        Raises:
            UsageError: max_length is too small for the special tokens.
        """
        if not rows:
            return []
        texts = [self.head_config.prefix + row["text"] for row in rows]
        pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
        encoded = (
            one
            for some in (groups(texts) if pairs is None else groups(texts, pairs))
            for one in self._encoded(texts[some], None if pairs is None else pairs[some])
        )
        return [
            Feature(np.asarray(ids, np.int32), i, _array(token_type_ids), row.get("label"), truncated)
            for i, (row, (ids, token_type_ids, truncated)) in enumerate(zip(rows, encoded, strict=True))
        ]

    def _encoded(self, texts: list[str], pairs: list[str] | None) -> Iterator[tuple[Sequence[int], list[int] | None, int]]:
        """Token ids, token types where the family has them, and the number of truncated tokens, of each row."""
        limit = self.head_config.max_length
        short = [shorten(self.tokenizer, text, limit) for text in texts]
        others = [shorten(self.tokenizer, text, limit) for text in pairs] if pairs is not None else [("", 0)] * len(texts)
        texts, pairs = [text for text, _ in short], [text for text, _ in others] if pairs is not None else None
        encoded, types = encode_batch(self.tokenizer, texts, pairs)
        for i, whole in enumerate(encoded):
            ids, token_type_ids, truncated = whole, types[i] if types else None, short[i][1] + others[i][1]
            if limit and len(whole) > limit:
                ids, token_type_ids = self._truncated(texts[i], pairs[i] if pairs is not None else None)
                truncated += len(whole) - len(ids)
                if len(ids) > limit:
                    least = self.tokenizer.num_special_tokens_to_add(pair=pairs is not None)
                    raise UsageError(f"max_length must be over {least} for this model, not {limit}")
            yield ids, token_type_ids, truncated

    def _truncated(self, text: str, pair: str | None) -> tuple[list[int], list[int] | None]:
        """Truncate a row, the longer text of a pair first.

        Text far beyond the limit is dropped before: tokenizers encodes every pair of windows.
        """
        limit, size = self.head_config.max_length, CHARS_PER_TOKEN * self.head_config.max_length
        text = shorten(self.tokenizer, text, limit, size=size)[0]
        pair = None if pair is None else shorten(self.tokenizer, pair, limit, size=size)[0]
        encoded = self.tokenizer(text, pair, truncation=True, max_length=limit, return_attention_mask=False)
        return encoded["input_ids"], encoded.get("token_type_ids") if pair is not None else None

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to input_ids and attention_mask (B, T), token_type_ids (B, T) for pairs, and labels.

        The labels are ids or numbers (B,), or 0 and 1 (B, C) where a row has any number of them.
        """
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=self.tokenizer.padding_side == "left")
        if features[0].target is not None:
            mean, scale = self._scale
            targets = [feature.target for feature in features]
            if self.head_config.has_several:
                return batch | {"labels": torch.from_numpy(indicators(targets, len(self.head_config.labels)))}
            # in fp64: fp32 loses a large number with a small scale
            batch["labels"] = torch.tensor([(target - mean) / scale for target in targets] if self._is_number else targets)
        return batch

    @property
    def _is_number(self) -> bool:
        return self.head_config.problem_type == "regression"

    @property
    def _scale(self) -> tuple[float, float]:
        """Mean and scale of the training labels, by which they are standardised; older versions of hftool had none."""
        mean, scale = self.head_config.label_scale or (0.0, 1.0)
        return mean, scale

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Weighted cross-entropy of logits (B, C) and labels (B,), or squared error of logits (B, 1), summed over the rows.

        With labels (B, C) of 0 and 1 the binary cross-entropy, that of a 1 weighted, summed over rows and labels.
        """
        logits, labels = _of_rows(outputs["logits"], batch["attention_mask"]).float(), batch["labels"]
        if self._is_number:
            return torch.nn.functional.mse_loss(logits[:, 0], labels.float(), reduction="sum"), len(labels)
        weights = self.head_config.class_weights
        weight = torch.tensor(weights, device=logits.device) if weights else None
        if self.head_config.has_several:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight, reduction="sum")
            return loss, labels.numel()
        return torch.nn.functional.cross_entropy(logits, labels, weight=weight, reduction="sum"), len(labels)

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[Answer]:
        """Logits (B, C) -> `label`, `probability` and the `probabilities` of all labels by name; or the number as `score`.

        Where a row has any number of labels: `labels`, in id order, and the `probabilities`.
        """
        logits = _of_rows(outputs["logits"], outputs["attention_mask"]).double()
        if self._is_number:
            mean, scale = self._scale
            return [{"score": score * scale + mean} for score in logits[:, 0].tolist()]
        if self.head_config.has_several:
            return [self._with_labels(row) for row in torch.sigmoid(logits).tolist()]
        answers = []
        for row in torch.softmax(logits, dim=-1).tolist():
            best = max(range(len(row)), key=row.__getitem__)
            every = dict(zip(self.head_config.labels, row, strict=True))
            answers.append({"label": self.head_config.labels[best], "probability": row[best], "probabilities": every})
        return answers

    def _with_labels(self, probabilities: Sequence[float]) -> Answer:
        names = self.head_config.labels
        over = zip(names, probabilities, self.head_config.thresholds, strict=True)
        return {
            "labels": [name for name, probability, least in over if probability >= least],
            "probabilities": dict(zip(names, probabilities, strict=True)),
        }

    def join(self, parts: Sequence[Answer]) -> Answer:
        """The only part of the row."""
        return parts[0]

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The label, the joined labels or the number."""
        if "labels" in answer:
            return "labels", self.head_config.labels_sep.join(answer["labels"])
        part = "score" if "score" in answer else "label"
        return part, answer[part]

    def margin(self, parts: Sequence[Answer], answer: Answer) -> float:
        """That of the label, or of the label that is nearest to its threshold; infinite for a number."""
        if "labels" in answer:
            return threshold_margin(list(answer["probabilities"].values()), self.head_config.thresholds)
        return margin_of(list(answer["probabilities"].values())) if "label" in answer else math.inf

    def metrics(self) -> Metrics:
        """The metrics of the task; else accuracy and macro-F1, the F1 of several labels, or the error of numbers."""
        if self.head_config.has_several:
            return Metrics(self.head_config.measures or SET_METRICS, higher_is_better=True, report="multi_label")
        report, names = ("regression", NUMBER_METRICS) if self._is_number else ("classification", LABEL_METRICS)
        return Metrics(self.head_config.measures or names, higher_is_better=True, report=report)


def _of_rows(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits (B, C) as they are; logits of tokens (B, T, C) averaged over the tokens of each row."""
    if logits.ndim == 2:
        return logits
    weights = mask.to(logits.device, logits.dtype)[:, :, None]
    return (logits * weights).sum(dim=1) / weights.sum(dim=1)


def _array(values: list[int] | None) -> np.ndarray | None:
    return None if values is None else np.array(values, np.int32)


def balanced_weights(labels: Sequence[int], count: int) -> tuple[float, ...]:
    """The weight of each of `count` classes, n / (count * n_c), whose mean over the rows is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", 2001; as scikit-learn's class_weight="balanced".
    """
    totals = np.bincount(np.asarray(labels), minlength=count)
    return tuple(float(len(labels) / (count * n)) if n else 0.0 for n in totals)


def positive_weights(label_sets: Sequence[Sequence[int]], count: int) -> tuple[float, ...]:
    """The weight of a row that has each of `count` labels: the rows without the label for each row with it.

    1 for a label that no row has, or every one. As `pos_weight` of torch.nn.BCEWithLogitsLoss.
    """
    totals = indicators(label_sets, count).sum(axis=0, dtype=np.int64)
    return tuple(float((len(label_sets) - n) / n) if 0 < n < len(label_sets) else 1.0 for n in totals.tolist())


def indicators(label_sets: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """Sets of label ids (N,) -> 0 and 1 (N, count), float32."""
    values = np.zeros((len(label_sets), count), np.float32)
    for row, ids in zip(values, label_sets, strict=True):
        row[list(ids)] = 1.0
    return values
