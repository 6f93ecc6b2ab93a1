"""A tag for every word of a text, and the entities that the tags make."""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.data.tag_schemes import OUTSIDE, Scheme, scheme_of
from hftool.data.unspaced_scripts import UNIT, UNSPACED
from hftool.errors import DataError, UsageError
from hftool.heads.collate import IGNORED, collate_inputs, pad_rows, token_loss
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.windows import SpecialTokenTemplate, TokenOffsets, cut_windows, special_token_template, token_offsets
from hftool.heads.wire import ENTITIES, Asks, Parameter, Schema
from hftool.models import HeadConfig

MEASURES = ("entity_f1", "precision", "recall", "accuracy")
BEGINS, ENDS = ("B", "S"), ("E", "S")


@dataclass(frozen=True)
class Sentence:
    """A text, its words, and the characters starts to ends (W,) of each."""

    text: str
    words: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class WordPositions:
    """Where a feature answers: positions (N,) of its tokens, and which word (N,) each stands for. sentence: in the first
    feature of a row only."""

    positions: np.ndarray
    words: np.ndarray
    sentence: Sentence | None


@dataclass(frozen=True)
class WordTags:
    """What a feature says: the tag id (N,) and its probability (N,) for words (N,)."""

    words: np.ndarray
    tags: np.ndarray
    probabilities: np.ndarray
    sentence: Sentence | None


@dataclass(frozen=True)
class TagHead:
    """Scores C tags for the first token of each word. A text longer than the card's max_length is read in windows; each word
    is answered and trained in the one window where it is far from the border."""

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ("labels",)
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("tokens",), ("tags",)), RowSchema(("text",)))
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None
    gives: ClassVar[str] = "entities"
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    replies: ClassVar[Schema] = ENTITIES
    asks: ClassVar[Asks] = Asks(texts={"text": "text"})

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows with tokens, and tags if they have them, or with text -> features, several for a long row; nothing is cut.

        Raises UsageError when max_length leaves no room for a token, DataError when a row has not one tag a word.
        """
        frame = special_token_template(self.tokenizer)
        room = self.head_config.max_length - frame.length
        if self.head_config.max_length and room < 1:
            raise UsageError(f"max_length must be over {frame.length} for this model, not {self.head_config.max_length}")
        units = self.head_config.split_units
        sentences = [_joined(row["tokens"]) if "tokens" in row else split_words(row["text"], units=units) for row in rows]
        # the words of a text go the way of words that were given: what was trained is what is answered
        joined = [_joined(sentence.words) for sentence in sentences]
        made = token_offsets(self.tokenizer, [one.text for one in joined]) if rows else []
        features: list[Feature] = []
        for i, row in enumerate(rows):
            if "tags" in row and len(row["tags"]) != len(sentences[i].words):
                raise DataError(
                    f"a row has {len(sentences[i].words)} tokens but {len(row['tags'])} tags: {sentences[i].text}"[:300]
                )
            words, firsts = _first_pieces(made[i], joined[i])
            size = room if self.head_config.max_length else max(len(made[i]), 1)
            for window in cut_windows(len(made[i]), size, size // 4):
                inside = (firsts >= window.core_start) & (firsts < window.core_end)
                read = WordPositions(firsts[inside] - window.start, words[inside], None if window.start else sentences[i])
                features.append(self._feature(frame, made[i].ids[window.start : window.end], i, read, row.get("tags")))
        return features

    def _feature(
        self, frame: SpecialTokenTemplate, ids: np.ndarray, row: int, read: WordPositions, tags: Sequence[int] | None
    ) -> Feature:
        """One window of a row, framed, its target (T,) -100 wherever no word begins."""
        framed, _ = frame.around(ids)
        if not len(framed):  # nothing at all: a model wants one token
            framed = np.array([self.tokenizer.pad_token_id], np.int32)
        read = WordPositions(read.positions + len(frame.runs[0]), read.words, read.sentence)
        target = None
        if tags is not None:
            target = np.full(len(framed), IGNORED, np.int64)
            target[read.positions] = np.asarray(tags, np.int64)[read.words]
        return Feature(framed, row, target=target, extra=read)

    @property
    def _left(self) -> bool:
        return bool(self.tokenizer.padding_side == "left")

    def collate(self, features: Sequence[Feature], draw: int = 0) -> Batch:
        """-> input_ids and attention_mask (B, T), labels (B, T) where rows have tags, -100 where no word begins."""
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=self._left)
        if features[0].target is not None:
            batch["labels"] = pad_rows([feature.target for feature in features], fill=IGNORED, left=self._left)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of logits (B, T, C) against labels (B, T), summed over the words."""
        return token_loss(outputs["logits"], batch["labels"])

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[WordTags]:
        """Logits (B, T, C) -> for each feature the best tag of its words, with its probability."""
        logits, parts = outputs["logits"], []
        for i, feature in enumerate(features):
            read: WordPositions = feature.extra
            shift = logits.shape[1] - feature.length if self._left else 0
            chosen = logits[i, torch.from_numpy(read.positions + shift)].double()
            probabilities, tags = torch.softmax(chosen, dim=-1).max(dim=-1)
            parts.append(WordTags(read.words, tags.numpy(), probabilities.numpy(), read.sentence))
        return parts

    def join(self, parts: Sequence[WordTags]) -> Answer:
        """The windows of a row -> `entities` with text, type, start, end and probability, `tags` and `tokens` of all words.

        A word that gives no token, such as a control character, is outside of all entities.
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

    def metrics(self) -> Metrics:
        """What the task is judged by; else F1 of whole entities, which decides, precision, recall, and accuracy of words."""
        return Metrics(self.head_config.measures or MEASURES, higher_is_better=True, report="tagging")

    def reply(self, row: Row, answer: Answer, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The entities, in the order of the text."""
        return [
            {"entity_group": e["type"], "score": e["probability"], "word": e["text"], "start": e["start"], "end": e["end"]}
            for e in answer["entities"]
        ]


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """Tags of words -> (type, first word, last word) of each entity, as seqeval reads them when no scheme is named.

    An I- after another type begins an entity too. Where tags have no marks, an entity is a run of equal tags.
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


def _first_pieces(pieces: TokenOffsets, sentence: Sentence) -> tuple[np.ndarray, np.ndarray]:
    """-> the words (N,) that give a token, and the first token (N,) of each.

    A token belongs to the word that holds its last character: a byte-level one may begin with the space before the word.
    """
    if not len(pieces) or not len(sentence.words):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    last = pieces.ends - 1
    owner = np.searchsorted(sentence.starts, last, side="right") - 1
    held = np.flatnonzero((pieces.ends > pieces.starts) & (owner >= 0) & (last < sentence.ends[owner]))
    words, at = np.unique(owner[held], return_index=True)
    return words, held[at]


def _joined(words: Sequence[str]) -> Sentence:
    """Words with single spaces between them."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1
    starts = ends - np.array([len(word) for word in words], np.int64)
    return Sentence(" ".join(words), tuple(words), starts, ends)


def split_words(text: str, *, units: bool = True) -> Sentence:
    """Split a text into words with their character offsets.

    White space separates. One word each: an ideograph or kana; a unit of Thai, Lao, Khmer, Burmese and related scripts, as in
    hftool.data.unspaced_scripts; a URL, an @name, a #tag; letters and digits with the accents on them and with apostrophes and
    hyphens inside, but not with an 's, which is a word; a number with its points and commas; letters with a point after each
    (U.S.); any other character, with what joins it to one emoji. A byte order mark is no word.

    Args:
        text: The text.
        units: Whether the units of unspaced scripts are words; else what stands between spaces is.
    """
    spans = [found.span() for found in _pattern(units).finditer(text)]
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    return Sentence(text, tuple(text[a:b] for a, b in spans), starts, ends)


# ideographs with their repetition marks, and kana of both widths
ALONE = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
ALONE += "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
JOINERS = "\u00ad\u200c\u200d"  # soft hyphen and what Persian and emoji join with: no letters, yet inside of words


@functools.cache
def _pattern(units: bool) -> re.Pattern[str]:
    """The words of a text. units: as above. No part of it may fail after a long way: it would be tried again from every
    character on the way."""
    # Python's \w has no accents that stand by themselves, nor the vowel signs of Hindi; all are in these two ranges
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = JOINERS + "".join(chr(code) for code in codes if unicodedata.category(chr(code))[0] == "M")
    alone = ALONE + UNSPACED if units else ALONE
    letter = rf"[^\W{alone}]"
    run = rf"{letter}(?:{letter}|[{marks}])*"
    of_it = rf"['’][sS](?!{letter})"
    web = rf"[^\s<>\"{alone}\u3000-\u303f\uff00-\uff65]"  # a Chinese sentence goes on right after it
    parts = (
        rf"(?i:https?://|www\.){web}*(?<![.,;:!?'’)\]}}…])",
        rf"(?<!{letter})[@#]{run}",
        rf"(?:(?<={letter})|(?<=[{marks}])){of_it}",
        rf"(?:(?![\d_]){letter}\.){{2,}}",
        rf"{run}(?:(?!{of_it})['’\-‐‑]{run}|(?<=\d)[.,](?=\d){run})*",
        rf"(?:[{ALONE}]{'|' + UNIT if units else ''})[{marks}]*",
        r"[\U0001F1E6-\U0001F1FF]{2}",
        rf"[^\s\ufeff](?:\u200d[^\s\w]|[{marks}\U0001F3FB-\U0001F3FF\U000E0020-\U000E007F])*",
    )
    return re.compile("|".join(parts))
