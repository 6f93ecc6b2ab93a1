"""Masked language modelling: training on text with some tokens masked, and filling in masks.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019, section 3.1.
"""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, token_loss
from hftool.heads.inputs import MASKS
from hftool.heads.margins import margin_of
from hftool.heads.packing import pack, token_ids
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.models import HeadConfig

# the share of tokens that are predicted; of these the shares that are masked and replaced by a random token
PREDICTED, MASKED, REPLACED = 0.15, 0.8, 0.1
WORD_STARTS = ("Ġ", "▁")  # a token that begins with one of these has a space before it


@dataclass(frozen=True)
class FillHead:
    """Masks tokens of a corpus in training, and fills in the masks of texts in inference.

    Raises:
        UsageError: top_k is below 1.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    for_inference: bool = False  # whether rows are texts with masks; else they are a corpus
    top_k: int = 5  # the number of fills for each mask

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ()
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("text",)),)
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 1024  # each has a logit for every token of the vocabulary
    sampling: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"top_k must be at least 1, not {self.top_k}")

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize a corpus or texts with masks.

        Returns:
            Of a corpus: blocks of max_length tokens between special tokens, each with the target True and counted as a row. Of
            texts with masks: a feature each, truncated to a window around its masks.

        Raises:
            DataError: A text has no mask, or its masks do not fit into one window.
            UsageError: max_length is too small for any text.
            ConfigError: The tokenizer has no mask token.
        """
        if self.tokenizer.mask_token_id is None:
            raise ConfigError("the tokenizer has no mask token", "Take a model that was trained to fill masks, such as BERT")
        if not rows:
            return []
        texts = [row["text"] for row in rows]
        if self.for_inference:
            return self._masked_texts(texts)
        size = self._room() or 512
        blocks = pack(token_ids(self.tokenizer, texts), size, least=1)
        return [Feature(self._framed(block), i, target=True) for i, block in enumerate(blocks)]

    def _masked_texts(self, texts: Sequence[str]) -> list[Feature]:
        mask, room = self.tokenizer.mask_token, self._room()
        spans = [[found.span() for found in self._mask_pattern.finditer(text)] for text in texts]
        for text, found in zip(texts, spans, strict=True):
            if not found:
                raise DataError(f"no {mask} in '{_short(text)}'", f"Write {mask} where the word is missing")
        texts_to_encode = [self._mask_pattern.sub(lambda _: mask, text.lstrip("\ufeff")) for text in texts]  # as in training
        features = []
        for i, ids in enumerate(token_ids(self.tokenizer, texts_to_encode)):
            window = self._window(ids, room, texts[i]) if room and len(ids) > room else ids
            features.append(Feature(self._framed(window), i, truncated=len(ids) - len(window), aux=(texts[i], spans[i])))
        return features

    def _window(self, ids: np.ndarray, room: int, text: str) -> np.ndarray:
        """`room` of the ids, centred on the masks as far as possible."""
        positions = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        first, last = int(positions[0]), int(positions[-1])
        if last - first >= room:
            what = f"masks that are {last - first} tokens apart in '{_short(text)}': the model takes {room} at a time"
            raise DataError(what, "Split the text in two")
        start = min(max(0, (first + last + 1 - room) // 2), len(ids) - room)
        return ids[start : start + room]

    def _room(self) -> int:
        """The limit of text tokens in a feature; 0 is none."""
        least = sum(len(part) for part in self._frame)
        if 0 < self.head_config.max_length <= least:
            raise UsageError(f"max_length must be over {least} for this model, not {self.head_config.max_length}")
        return max(0, self.head_config.max_length - least)

    def _framed(self, ids: np.ndarray) -> np.ndarray:
        before, after = self._frame
        return np.concatenate([before, ids, after])

    @cached_property
    def _frame(self) -> tuple[np.ndarray, np.ndarray]:
        """The special tokens before and after a text."""
        mask = self.tokenizer.mask_token
        bare = self.tokenizer(mask, add_special_tokens=False)["input_ids"]
        framed = self.tokenizer(mask)["input_ids"]
        start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
        return np.array(framed[:start], np.int32), np.array(framed[start + len(bare) :], np.int32)

    @cached_property
    def _mask_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(mask) for mask in {self.tokenizer.mask_token, *MASKS}))

    @cached_property
    def _special(self) -> np.ndarray:
        return np.array(sorted(self.tokenizer.all_special_ids), np.int64)

    @cached_property
    def _words(self) -> np.ndarray:
        """The ids of all tokens but special ones."""
        return np.setdiff1d(np.arange(len(self.tokenizer)), self._special)

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to input_ids and attention_mask (B, T); of a corpus with masked tokens and labels (B, T), else -100.

        Masks depend on the epoch and the tokens of the feature alone, not on batches, workers or processes.
        """
        if features[0].target is None:
            return collate_inputs(features, pad=self.tokenizer.pad_token_id, left=False)
        pairs = [self._mask(feature.input_ids, epoch_seed) for feature in features]
        masked = [Feature(ids) for ids, _ in pairs]
        batch = collate_inputs(masked, pad=self.tokenizer.pad_token_id, left=False)
        batch["labels"] = pad_rows([labels for _, labels in pairs], fill=IGNORED)
        return batch

    def _mask(self, ids: np.ndarray, epoch_seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) -> ids with some of them masked, and labels, both (T,)."""
        rng = np.random.default_rng([epoch_seed, zlib.crc32(ids.tobytes())])
        open_ = np.flatnonzero(~np.isin(ids, self._special))
        chosen = rng.permutation(open_)[: max(1, round(PREDICTED * len(open_)))]
        fate, words = rng.random(len(chosen)), rng.choice(self._words, len(chosen))
        seen, labels = ids.astype(np.int64), np.full(len(ids), IGNORED, np.int64)
        labels[chosen] = seen[chosen]
        masked, replaced = fate < MASKED, (fate >= MASKED) & (fate < MASKED + REPLACED)
        seen[chosen[masked]] = self.tokenizer.mask_token_id
        seen[chosen[replaced]] = words[replaced]
        return seen, labels

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, V) against labels (B, T) -> (sum, number of predicted tokens)."""
        return token_loss(outputs["logits"], batch["labels"])

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[Answer]:
        """Logits (B, T, V) -> `text` with the best token for each mask, and `masks`.

        Each mask has its character offsets `start` and `end` and its `fills`: the top_k tokens with their probabilities,
        without special tokens.
        """
        answers = []
        for logits, feature in zip(outputs["logits"], features, strict=True):
            text, spans = feature.aux
            positions = torch.from_numpy(np.flatnonzero(feature.input_ids == self.tokenizer.mask_token_id))
            probabilities = torch.softmax(logits[positions].double(), dim=-1)[:, self._words]
            best = probabilities.topk(min(self.top_k, probabilities.shape[1]))
            fills = [self._words[row] for row in best.indices.numpy()]
            masks = [
                {"start": start, "end": end, "fills": [self._fill(i, p) for i, p in zip(ids, row, strict=True)]}
                for (start, end), ids, row in zip(spans, fills, best.values.tolist(), strict=True)
            ]
            answers.append({"text": self._filled(text, spans, [int(ids[0]) for ids in fills]), "masks": masks})
        return answers

    def _fill(self, token: int, probability: float) -> Answer:
        return {"token": self._readable(int(token)), "probability": probability}

    def _readable(self, token: int) -> str:
        word = str(self.tokenizer.convert_ids_to_tokens(token))
        if self._joins and word.startswith(self._joins) and word != self._joins:
            return word.removeprefix(self._joins)
        return str(self.tokenizer.decode([token])).strip()

    @cached_property
    def _joins(self) -> str:
        """The prefix of tokens that continue a word, such as "##"; "" where spaces are marked instead."""
        model = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "model", None)
        return str(getattr(model, "continuing_subword_prefix", None) or "")

    def _filled(self, text: str, spans: Sequence[tuple[int, int]], tokens: Sequence[int]) -> str:
        """The text with a token at each span, with or without a space before it as the token needs."""
        swallows = self.tokenizer.added_tokens_decoder[self.tokenizer.mask_token_id].lstrip  # the mask replaces the space, too
        filled, done = "", 0
        for (start, end), token in zip(spans, tokens, strict=True):
            word = str(self.tokenizer.convert_ids_to_tokens(token))
            filled += text[done:start]
            if word.startswith(WORD_STARTS):
                filled += " " if filled and not filled[-1].isspace() else ""
            elif swallows or (self._joins and word.startswith(self._joins)):
                filled = filled.rstrip()
            filled, done = filled + self._readable(token), end
        return filled + text[done:]

    def join(self, parts: Sequence[Answer]) -> Answer:
        """The only part of the row."""
        return parts[0]

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The best token for each mask."""
        return "masks", [mask["fills"][0]["token"] for mask in answer["masks"]]

    def margin(self, parts: Sequence[Answer], answer: Answer) -> float:
        """The least margin of the first fill of a mask; 0 where only one fill is known."""
        fills = [[fill["probability"] for fill in mask["fills"]] for mask in answer["masks"]]
        return min((margin_of(some) if len(some) > 1 else 0.0 for some in fills), default=math.inf)

    def metrics(self) -> Metrics:
        """The metrics of the task; else the loss of a predicted token and its perplexity."""
        return Metrics(
            self.head_config.measures or ("loss", "perplexity"), higher_is_better=False, report="language", answers=False
        )


def _short(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.split())[:60]
