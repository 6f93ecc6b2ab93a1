"""Token classification: a tag for each word of a text, and the entities of the tags."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.data.tag_schemes import OUTSIDE, Scheme, scheme_of
from hftool.data.word_splitting import word_offsets
from hftool.errors import DataError, UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, token_loss
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.windows import SpecialTokenTemplate, TokenOffsets, sliding_windows, special_token_template, token_offsets
from hftool.models import HeadConfig

DEFAULT_METRICS = ("entity_f1", "precision", "recall", "accuracy")
BEGINS, ENDS = ("B", "S"), ("E", "S")


@dataclass(frozen=True)
class SplitSentence:
    """A text, its words, and their character offsets starts and ends (W,)."""

    text: str
    words: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class WordPositions:
    """The positions (N,) of the tokens of a feature that are classified, and the indices (N,) of their words.

    `sentence` is in the first feature of a row only.
    """

    positions: np.ndarray
    words: np.ndarray
    sentence: SplitSentence | None


@dataclass(frozen=True)
class WordTags:
    """The tag ids (N,), their probabilities (N,), and the least of their margins, for words (N,) of a feature."""

    words: np.ndarray
    tags: np.ndarray
    probabilities: np.ndarray
    margin: float
    sentence: SplitSentence | None


@dataclass(frozen=True)
class TagHead:
    """Scores C tags for the first token of each word.

    Texts longer than max_length are read in windows; each word is trained and predicted in the window where it is farthest from
    a border.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("labels",)
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("tokens",), ("tags",)), RowSchema(("text",)))
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize `tokens`, or the words of `text`, several windows for a long row; nothing is truncated.

        Raises:
            UsageError: max_length is too small for any token.
            DataError: A row has not one tag for each word.
        """
        frame = special_token_template(self.tokenizer)
        room = self.head_config.max_length - frame.length
        if self.head_config.max_length and room < 1:
            raise UsageError(f"max_length must be over {frame.length} for this model, not {self.head_config.max_length}")
        units = self.head_config.split_units
        sentences = [_joined(row["tokens"]) if "tokens" in row else split_words(row["text"], units=units) for row in rows]
        # words of a text are encoded like given words, so that inference is as training
        joined = [_joined(sentence.words) for sentence in sentences]
        encoded = token_offsets(self.tokenizer, [one.text for one in joined]) if rows else []
        features: list[Feature] = []
        for i, row in enumerate(rows):
            if "tags" in row and len(row["tags"]) != len(sentences[i].words):
                raise DataError(
                    f"a row has {len(sentences[i].words)} tokens but {len(row['tags'])} tags: {sentences[i].text}"[:300]
                )
            words, firsts = _first_pieces(encoded[i], joined[i])
            size = room if self.head_config.max_length else max(len(encoded[i]), 1)
            for window in sliding_windows(len(encoded[i]), size, size // 4):
                inside = (firsts >= window.core_start) & (firsts < window.core_end)
                read = WordPositions(firsts[inside] - window.start, words[inside], None if window.start else sentences[i])
                features.append(self._feature(frame, encoded[i].ids[window.start : window.end], i, read, row.get("tags")))
        return features

    def _feature(
        self, frame: SpecialTokenTemplate, ids: np.ndarray, row: int, read: WordPositions, tags: Sequence[int] | None
    ) -> Feature:
        """A window of a row between special tokens, with the target (T,), -100 where no word begins."""
        framed, _ = frame.around(ids)
        if not len(framed):  # empty: a model needs one token
            framed = np.array([self.tokenizer.pad_token_id], np.int32)
        read = WordPositions(read.positions + len(frame.runs[0]), read.words, read.sentence)
        target = None
        if tags is not None:
            target = np.full(len(framed), IGNORED, np.int64)
            target[read.positions] = np.asarray(tags, np.int64)[read.words]
        return Feature(framed, row, target=target, aux=read)

    @property
    def _left(self) -> bool:
        return bool(self.tokenizer.padding_side == "left")

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to input_ids and attention_mask (B, T), and with tags labels (B, T), -100 where no word begins."""
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=self._left)
        if features[0].target is not None:
            batch["labels"] = pad_rows([feature.target for feature in features], fill=IGNORED, left=self._left)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, C) against labels (B, T), summed over the words."""
        return token_loss(outputs["logits"], batch["labels"])

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[WordTags]:
        """Logits (B, T, C) -> the best tag of each word, with its probability."""
        logits, parts = outputs["logits"], []
        for i, feature in enumerate(features):
            read: WordPositions = feature.aux
            shift = logits.shape[1] - feature.length if self._left else 0
            chosen = logits[i, torch.from_numpy(read.positions + shift)].double()
            probabilities, tags = torch.softmax(chosen, dim=-1).max(dim=-1)
            top = chosen.topk(min(2, chosen.shape[-1])).values
            margin = float((top[:, 0] - top[:, 1]).min()) if top.shape[1] == 2 and len(top) else math.inf
            parts.append(WordTags(read.words, tags.numpy(), probabilities.numpy(), margin, read.sentence))
        return parts

    def join(self, parts: Sequence[WordTags]) -> Answer:
        """The windows of a row -> `entities` with text, type, start, end and probability, and `tags` and `tokens` of all words.

        A word without tokens, such as a control character, is outside of all entities.
        """
        sentence = parts[0].sentence
        assert sentence is not None  # features of a row come in order
        scheme = scheme_of(tuple(self.head_config.labels))
        tags, sure = [scheme.outside] * len(sentence.words), np.ones(len(sentence.words))
        for part in parts:
            sure[part.words] = part.probabilities
            for word, tag in zip(part.words.tolist(), part.tags.tolist(), strict=True):
                tags[word] = self.head_config.labels[tag]
        entities = []
        for kind, first, last in spans_of(tags, scheme):
            start, end = int(sentence.starts[first]), int(sentence.ends[last])
            probability = float(sure[first : last + 1].mean())
            text = sentence.text[start:end]
            entities.append({"text": text, "type": kind, "start": start, "end": end, "probability": probability})
        return {"entities": entities, "tags": tags, "tokens": list(sentence.words)}

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The tags of all words."""
        return "tags", answer["tags"]

    def margin(self, parts: Sequence[WordTags], answer: Answer) -> float:
        """The least margin of the tag of a word."""
        return min(part.margin for part in parts)

    def metrics(self) -> Metrics:
        """The metrics of the task; else F1, precision and recall of entities, and accuracy of words."""
        return Metrics(self.head_config.measures or DEFAULT_METRICS, higher_is_better=True, report="tagging")


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """Tags of words -> (type, first word, last word) of each entity, as in seqeval without a named scheme.

    I- after another type also begins an entity. Where tags have no prefixes, an entity is a run of equal tags.
    """
    found: list[tuple[str, int, int]] = []
    before, kind_before = OUTSIDE, ""
    for i, tag in enumerate(tags):
        mark, kind = scheme.read(tag)
        if mark != OUTSIDE:
            if mark in BEGINS or before == OUTSIDE or before in ENDS or kind != kind_before:
                found.append((kind, i, i))
            else:
                found[-1] = (kind, found[-1][1], i)
        before, kind_before = mark, kind
    return found


def _first_pieces(pieces: TokenOffsets, sentence: SplitSentence) -> tuple[np.ndarray, np.ndarray]:
    """The words (N,) that have a token, and the first token (N,) of each.

    A token belongs to the word with its last character: a byte-level one may begin with the space before the word.
    """
    if not len(pieces) or not len(sentence.words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    last = pieces.ends - 1
    owner = np.searchsorted(sentence.starts, last, side="right") - 1
    held = np.flatnonzero((pieces.ends > pieces.starts) & (owner >= 0) & (last < sentence.ends[owner]))
    words, at = np.unique(owner[held], return_index=True)
    return words, held[at]


def _joined(words: Sequence[str]) -> SplitSentence:
    """Words joined by single spaces."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1
    starts = ends - np.array([len(word) for word in words], np.int64)
    return SplitSentence(" ".join(words), tuple(words), starts, ends)


def split_words(text: str, *, units: bool = True) -> SplitSentence:
    """Split a text into words with their character offsets; see `hftool.data.word_splitting.word_offsets`."""
    spans = word_offsets(text, units=units)
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    return SplitSentence(text, tuple(text[a:b] for a, b in spans), starts, ends)
