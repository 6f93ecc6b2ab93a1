"""Missing words: an encoder that is trained on plain text with some of its tokens hidden, and fills in what is missing.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019, section 3.1.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, token_loss
from hftool.heads.packing import pack, token_ids
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.wire import WORDS, Asks, Parameter, Schema
from hftool.models import HeadConfig

# Of the tokens so many are learnt. Most of them are hidden, some are any other token, the rest stay: so none can be trusted.
MASKED, HIDDEN, REPLACED = 0.15, 0.8, 0.1
MASKS = ("[MASK]", "<mask>")  # as BERT and RoBERTa write it; both are understood by all
WORD_STARTS = ("Ġ", "▁")  # a token that begins with one of these has a space before it


@dataclass(frozen=True)
class FillHead:
    """Hides tokens of plain text to learn from, and fills in the masks of texts that are asked.

    asking: whether rows are texts with masks to be filled; without it they are a corpus. top_k: fills named for each mask.
    Raises UsageError for a top_k below 1.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None
    asking: bool = False
    top_k: int = 5

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ()
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("text",)),)
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 1024  # each has as many logits as there are words
    sampling: ClassVar[None] = None
    gives: ClassVar[str] = "words"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "top_k": Parameter(kind=int, help="Words for each mask; by default 5.", least=1, most=100, goes="top_k")
    }
    replies: ClassVar[Schema] = WORDS

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"top_k must be at least 1, not {self.top_k}")

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """A corpus -> blocks of the card's max_length, framed by the special tokens, target True; a block is a row of its own.
        Texts that are asked -> one feature each, cut to a window around their masks where they are longer.

        Raises DataError for a text without a mask or whose masks do not fit into one window, UsageError when max_length holds
        no text, ConfigError when the tokenizer has no mask token.
        """
        if self.tokenizer.mask_token_id is None:
            raise ConfigError("the tokenizer has no mask token", "Take a model that was trained to fill masks, such as BERT")
        if not rows:
            return []
        texts = [row["text"] for row in rows]
        if self.asking:
            return self._questions(texts)
        size = self._room() or 512
        blocks = pack(token_ids(self.tokenizer, texts), size, least=1)
        return [Feature(self._framed(block), i, target=True) for i, block in enumerate(blocks)]

    def _questions(self, texts: Sequence[str]) -> list[Feature]:
        mask, room = self.tokenizer.mask_token, self._room()
        spans = [[found.span() for found in self._mask_pattern.finditer(text)] for text in texts]
        for text, found in zip(texts, spans, strict=True):
            if not found:
                raise DataError(f"no {mask} in '{_short(text)}'", f"Write {mask} where the word is missing")
        written = [self._mask_pattern.sub(lambda _: mask, text.lstrip("\ufeff")) for text in texts]  # as texts are learnt
        features = []
        for i, ids in enumerate(token_ids(self.tokenizer, written)):
            window = self._window(ids, room, texts[i]) if room and len(ids) > room else ids
            features.append(Feature(self._framed(window), i, cut=len(ids) - len(window), extra=(texts[i], spans[i])))
        return features

    def _window(self, ids: np.ndarray, room: int, text: str) -> np.ndarray:
        """`room` of the ids, as many before the masks as after them, as far as there are so many."""
        places = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        first, last = int(places[0]), int(places[-1])
        if last - first >= room:
            raise DataError(
                f"masks that are {last - first} tokens apart in '{_short(text)}': the model takes {room} at a time",
                "Cut the text in two",
            )
        start = min(max(0, (first + last + 1 - room) // 2), len(ids) - room)
        return ids[start : start + room]

    def _room(self) -> int:
        """Tokens of text in a feature; 0 without a limit."""
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
        word = self.tokenizer.mask_token
        bare = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        framed = self.tokenizer(word)["input_ids"]
        start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
        return np.array(framed[:start], np.int32), np.array(framed[start + len(bare) :], np.int32)

    @cached_property
    def _mask_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(word) for word in {self.tokenizer.mask_token, *MASKS}))

    @cached_property
    def _special(self) -> np.ndarray:
        return np.array(sorted(self.tokenizer.all_special_ids), np.int64)

    @cached_property
    def _words(self) -> np.ndarray:
        """The ids of all tokens that may stand in a text."""
        return np.setdiff1d(np.arange(len(self.tokenizer)), self._special)

    def collate(self, features: Sequence[Feature], draw: int = 0) -> Batch:
        """-> input_ids and attention_mask (B, T); of a corpus with tokens hidden, and labels (B, T): what they were, else -100.

        What is hidden follows from the draw and the tokens of the feature alone: batches, workers and processes are nothing
        to it.
        """
        if features[0].target is None:
            return collate_inputs(features, pad=self.tokenizer.pad_token_id, left=False)
        pairs = [self._hide(feature.input_ids, draw) for feature in features]
        hidden = [Feature(ids) for ids, _ in pairs]
        batch = collate_inputs(hidden, pad=self.tokenizer.pad_token_id, left=False)
        batch["labels"] = pad_rows([labels for _, labels in pairs], fill=IGNORED)
        return batch

    def _hide(self, ids: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) -> ids with some of them hidden, and labels, (T,) both."""
        rng = np.random.default_rng([draw, zlib.crc32(ids.tobytes())])
        open_ = np.flatnonzero(~np.isin(ids, self._special))
        chosen = rng.permutation(open_)[: max(1, round(MASKED * len(open_)))]
        fate, words = rng.random(len(chosen)), rng.choice(self._words, len(chosen))
        seen, labels = ids.astype(np.int64), np.full(len(ids), IGNORED, np.int64)
        labels[chosen] = seen[chosen]
        covered, replaced = fate < HIDDEN, (fate >= HIDDEN) & (fate < HIDDEN + REPLACED)
        seen[chosen[covered]] = self.tokenizer.mask_token_id
        seen[chosen[replaced]] = words[replaced]
        return seen, labels

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, V) against labels (B, T) -> (sum, tokens that were chosen)."""
        return token_loss(outputs["logits"], batch["labels"])

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[Answer]:
        """Logits (B, T, V) -> the text with each mask filled by its best token, and `masks`: where each stood in the text that
        was asked (characters `start` to `end`), and the top_k tokens for it with their probabilities, special tokens left out.
        """
        answers = []
        for logits, feature in zip(outputs["logits"], features, strict=True):
            text, spans = feature.extra
            places = torch.from_numpy(np.flatnonzero(feature.input_ids == self.tokenizer.mask_token_id))
            shares = torch.softmax(logits[places].double(), dim=-1)[:, self._words]
            best = shares.topk(min(self.top_k, shares.shape[1]))
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
        """What a token begins with that goes on with the word before it; "" where spaces are marked instead."""
        model = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "model", None)
        return str(getattr(model, "continuing_subword_prefix", None) or "")

    def _filled(self, text: str, spans: Sequence[tuple[int, int]], tokens: Sequence[int]) -> str:
        """The text with a token at each span; a space before it is put in or taken out where the token says so."""
        swallows = self.tokenizer.added_tokens_decoder[self.tokenizer.mask_token_id].lstrip  # the mask stands for it, too
        made, done = "", 0
        for (start, end), token in zip(spans, tokens, strict=True):
            word = str(self.tokenizer.convert_ids_to_tokens(token))
            made += text[done:start]
            if word.startswith(WORD_STARTS):
                made += " " if made and not made[-1].isspace() else ""
            elif swallows or (self._joins and word.startswith(self._joins)):
                made = made.rstrip()
            made, done = made + self._readable(token), end
        return made + text[done:]

    def join(self, parts: Sequence[Answer]) -> Answer:
        """A row has one part."""
        return parts[0]

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The best token for each mask."""
        return "masks", [mask["fills"][0]["token"] for mask in answer["masks"]]

    def metrics(self) -> Metrics:
        """The loss of a hidden token, and the perplexity that it is the logarithm of."""
        return Metrics(
            self.head_config.measures or ("loss", "perplexity"), higher_is_better=False, report="language", answers=False
        )

    @property
    def asks(self) -> Asks:
        """A text with a mask."""
        return Asks(texts={"text": "text"}, holds=tuple(dict.fromkeys((str(self.tokenizer.mask_token), *MASKS))))

    def reply(self, row: Row, answer: Answer, parameters: Mapping[str, Any]) -> list[Any]:
        """The words for the mask, with the text that each makes; for several masks a list of those of each."""
        text, made = row["text"], []
        for mask in answer["masks"]:
            before, after = text[: mask["start"]], text[mask["end"] :]
            made.append(
                [
                    {"score": fill["probability"], "token_str": fill["token"], "sequence": before + fill["token"] + after}
                    for fill in mask["fills"]
                ]
            )
        return made[0] if len(made) == 1 else made


def _short(text: str) -> str:
    """The beginning of a text, in one line, to know it by."""
    return " ".join(text.split())[:60]
