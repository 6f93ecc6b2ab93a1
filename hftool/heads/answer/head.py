"""Extractive question answering: the span of a context that answers a question."""

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hftool.data.readers.tables import Row
from hftool.data.schema import RowSchema
from hftool.errors import UsageError
from hftool.heads.collate import collate_inputs
from hftool.heads.margins import margin_of
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.windows import SpecialTokenTemplate, TokenOffsets, sliding_windows, special_token_template, token_offsets
from hftool.models import HeadConfig

DEFAULT_METRICS = ("f1", "exact_match")
OVERLAP = 128  # tokens that neighbouring windows share, as in the BERT paper's code for SQuAD
MAX_TOKENS = 30  # of an answer, as there
MAX_CANDIDATES = 5
SPANS_AT_ONCE = 4096  # tokens whose spans are scored at once, which bounds memory


@dataclass(frozen=True)
class Context:
    """A context with the character offsets of its tokens."""

    text: str  # the context
    starts: np.ndarray  # offsets (N,) of the tokens, without white space and with their combining marks
    ends: np.ndarray  # their ends (N,); not above starts for a token of white space

    def find(self, start: int, text: str) -> tuple[int, int] | None:
        """The first and the last token of `text` at offset `start`, or None where no token has its characters."""
        inner = text.strip()
        first = start + len(text) - len(text.lstrip())
        held = np.flatnonzero((self.starts < self.ends) & (self.starts < first + len(inner)) & (self.ends > first))
        return (int(held[0]), int(held[-1])) if inner and len(held) else None

    def borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Masks (N,) of the tokens at which an answer may begin and end: not inside a character of several tokens.

        No two pairs of tokens are then the same answer.
        """
        seen = self.starts < self.ends
        before = np.maximum.accumulate(np.where(seen, self.ends, 0))
        after = np.minimum.accumulate(np.where(seen, self.starts, len(self.text))[::-1])[::-1]
        begins, ends = seen.copy(), seen.copy()
        begins[1:] &= self.starts[1:] >= before[:-1]
        ends[:-1] &= self.ends[:-1] <= after[1:]
        return begins, ends


@dataclass(frozen=True)
class ContextWindow:
    """The `size` tokens of a context from `first` on, which are at `position` in their feature."""

    context: Context
    first: int
    size: int
    position: int


@dataclass(frozen=True)
class SpanScores:
    """Scores of the tokens of a window as the begin (n,) and the end (n,) of an answer, and of no answer."""

    context: Context
    first: int
    begins: np.ndarray
    ends: np.ndarray
    null: float


@dataclass(frozen=True)
class AnswerHead:
    """Scores each token of a context as the begin and the end of the answer; long contexts are read in windows.

    Under the problem type "answer_or_none" position 0 stands for no answer.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ()
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("question", "context"), ("answers",)),)
    outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Tokenize questions and contexts.

        Returns:
            The features, several for a long context. A question is truncated to a quarter of max_length.

        Raises:
            UsageError: max_length leaves no room for a context.
        """
        if not rows:
            return []
        frame = special_token_template(self.tokenizer, 2)
        questions = token_offsets(self.tokenizer, [self.head_config.prefix + row["question"] for row in rows])
        contexts = token_offsets(self.tokenizer, [row["context"] for row in rows])
        features: list[Feature] = []
        for i, row in enumerate(rows):
            question = questions[i].ids[: self.head_config.max_length // 4 if self.head_config.max_length else None]
            truncated = len(questions[i]) - len(question)
            if not frame.runs[0] and not len(question):  # position 0 means no answer and cannot be a token of the context
                question = np.array([self.tokenizer.pad_token_id], np.int32)
            features += self._features(frame, question, contexts[i], row=row, at=i, truncated=truncated)
        return features

    def _features(
        self, frame: SpecialTokenTemplate, question: np.ndarray, pieces: TokenOffsets, *, row: Row, at: int, truncated: int
    ) -> Iterator[Feature]:
        """The windows of a row, each with the question."""
        size = max(len(pieces), 1)
        if self.head_config.max_length:
            size = self.head_config.max_length - frame.length - len(question)
        if size < 1:
            least = next(n for n in count() if n - max(n // 4, not frame.runs[0]) > frame.length) - 1
            raise UsageError(f"max_length must be over {least} for this model, not {self.head_config.max_length}")
        context = _context(row["context"], pieces)
        answer = _first_answer(context, row["answers"]) if "answers" in row else None
        position = len(frame.runs[0]) + len(question) + len(frame.runs[1])
        windows = sliding_windows(len(pieces), size, min(OVERLAP, size // 3))
        holding = [w for w in windows if answer is not None and w.start <= answer[0] and answer[1] < w.end]
        for window in windows:
            ids, token_type_ids = frame.around(question, pieces.ids[window.start : window.end])
            target = (0, 0) if "answers" in row else None
            if answer is not None and window in holding:
                target = (position + answer[0] - window.start, position + answer[1] - window.start)
            view = ContextWindow(context, window.start, window.end - window.start, position)
            first = window is windows[0]
            target_lost = first and answer is not None and not holding
            yield Feature(ids, at, token_type_ids, target, truncated if first else 0, target_lost, view)

    def _shift(self, length: int, feature: Feature) -> int:
        """By how many positions padding shifts a feature in a batch of `length` positions."""
        return length - feature.length if self.tokenizer.padding_side == "left" else 0

    def collate(self, features: Sequence[Feature], epoch_seed: int = 0) -> Batch:
        """Pad features to a batch.

        Returns:
            input_ids and attention_mask (B, T), token_type_ids (B, T) where the family has them, and labels (B, 2) where rows
            have answers: the positions of the first and the last token.
        """
        left = self.tokenizer.padding_side == "left"
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=left)
        if features[0].target is not None:
            length = batch["input_ids"].shape[1]
            moved = [[position + self._shift(length, feature) for position in feature.target] for feature in features]
            batch["labels"] = torch.tensor(moved)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Half the cross-entropies of start_logits and end_logits (B, T) against labels (B, 2), summed over the features.

        The softmax includes the question, as in transformers, but no padding, so that a row has the same loss in any batch.
        """
        labels, padding = batch["labels"], batch["attention_mask"] == 0
        begin, end = (
            torch.nn.functional.cross_entropy(
                outputs[name].float().masked_fill(padding.to(outputs[name].device), -torch.inf), labels[:, i], reduction="sum"
            )
            for i, name in enumerate(self.outputs)
        )
        return (begin + end) / 2, len(labels)

    def decode(self, outputs: Outputs, features: Sequence[Feature]) -> list[SpanScores]:
        """start_logits and end_logits (B, T) -> the scores of the context tokens of each feature."""
        parts = []
        for i, feature in enumerate(features):
            view: ContextWindow = feature.aux
            begins, ends = (outputs[name][i].double().numpy() for name in self.outputs)
            shift = self._shift(len(begins), feature)
            seen = slice(shift + view.position, shift + view.position + view.size)
            null = float(begins[shift] + ends[shift])
            parts.append(SpanScores(view.context, view.first, begins[seen].copy(), ends[seen].copy(), null))
        return parts

    def join(self, parts: Sequence[SpanScores]) -> Answer:
        """Join the windows of a row.

        Returns:
            `answer`, its character offsets `start` and `end` in the context, its `probability` among all spans of at most 30
            tokens, and the best `candidates`. A span in two windows has the larger of its scores; no answer has the lowest
            score of all windows, since every window but one may lack the answer.
        """
        context, none = parts[0].context, self.head_config.problem_type == "answer_or_none"
        best, total = best_spans(parts)
        null = min(part.null for part in parts)
        if none:
            total = float(np.logaddexp(total, null))
        candidates = [_candidate(context, first, last, float(np.exp(score - total))) for score, first, last in best]
        if not best or (none and null > best[0][0]):
            probability = float(np.exp(null - total)) if none else 0.0
            return {"answer": "", "start": None, "end": None, "probability": probability, "candidates": candidates}
        top = candidates[0]
        return {"answer": top["text"], **{key: top[key] for key in ("start", "end", "probability")}, "candidates": candidates}

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The text of the answer."""
        return "answer", answer["answer"]

    def margin(self, parts: Sequence[SpanScores], answer: Answer) -> float:
        """Half of that of the best span, whose score is the sum of two logits; no answer counts as a span."""
        if self.head_config.problem_type != "answer_or_none":
            return margin_of([candidate["probability"] for candidate in answer["candidates"]]) / 2
        scores = [score for score, _, _ in best_spans(parts)[0]]
        second, first = sorted([*scores, min(part.null for part in parts)])[-2:] if scores else (0.0, math.inf)
        return (first - second) / 2

    def metrics(self) -> Metrics:
        """The metrics of the task; else F1 over the words of an answer, and exact match."""
        return Metrics(self.head_config.measures or DEFAULT_METRICS, higher_is_better=True, report="answers")


def _candidate(context: Context, first: int, last: int, probability: float) -> dict[str, Any]:
    start, end = int(context.starts[first]), int(context.ends[last])
    return {"text": context.text[start:end], "start": start, "end": end, "probability": probability}


Span = tuple[float, int, int]  # score, first token, last token


def best_spans(parts: Sequence[SpanScores]) -> tuple[list[Span], float]:
    """The best spans of a context, best first, and the log of the sum of exp(score) over all spans."""
    context = parts[0].context
    may_begin, may_end = context.borders()
    may_end = np.concatenate([may_end, np.zeros(MAX_TOKENS, bool)])
    best: list[Span] = []
    total = -np.inf
    for low in range(0, len(may_begin), SPANS_AT_ONCE):
        scores = _scores(parts, low, min(low + SPANS_AT_ONCE, len(may_begin)))
        high = low + len(scores)
        allowed = may_begin[low:high, None] & sliding_window_view(may_end[low : high + MAX_TOKENS - 1], MAX_TOKENS)
        flat = np.where(allowed, scores, -np.inf).ravel()
        top = float(flat.max())
        if top == -np.inf:
            continue
        total = np.logaddexp(total, top + np.log(np.exp(flat - top).sum()))
        chosen = np.argpartition(-flat, min(MAX_CANDIDATES, len(flat) - 1))[:MAX_CANDIDATES]
        best += [(float(flat[i]), low + int(i) // MAX_TOKENS, low + int(i) // MAX_TOKENS + int(i) % MAX_TOKENS) for i in chosen]
        best = sorted((span for span in best if span[0] > -np.inf), key=lambda span: (-span[0], span[1:]))[:MAX_CANDIDATES]
    return best, float(total)


def _scores(parts: Sequence[SpanScores], low: int, high: int) -> np.ndarray:
    """Scores (high - low, MAX_TOKENS) of the spans that begin at the tokens low to high and have 1, 2, ... tokens."""
    scores = np.full((high - low, MAX_TOKENS), -np.inf)
    for part in parts:
        a, b = max(low, part.first), min(high, part.first + len(part.begins))
        if a >= b:
            continue
        ends = part.ends[a - part.first : b - part.first + MAX_TOKENS - 1]
        ends = np.concatenate([ends, np.full(b - a + MAX_TOKENS - 1 - len(ends), -np.inf)])
        spans = part.begins[a - part.first : b - part.first, None] + sliding_window_view(ends, MAX_TOKENS)
        np.maximum(scores[a - low : b - low], spans, out=scores[a - low : b - low])
    return scores


def _first_answer(context: Context, answers: Mapping[str, Sequence[Any]]) -> tuple[int, int] | None:
    if not len(answers["text"]):
        return None
    return context.find(int(answers["answer_start"][0]), str(answers["text"][0]))


def _context(text: str, pieces: TokenOffsets) -> Context:
    """Offsets as answers need them: byte-level tokens begin with a space, and those of BERT leave out combining marks."""
    if not len(pieces):
        return Context(text, pieces.starts, pieces.ends)
    offsets, length = np.arange(len(text), dtype=np.int32), np.int32(len(text))
    space = np.array([char.isspace() for char in text])
    accent = np.array([not char.isascii() and unicodedata.category(char)[0] == "M" for char in text])
    filled = np.append(np.minimum.accumulate(np.where(space, length, offsets)[::-1])[::-1], length)
    bare = np.append(np.int32(0), np.maximum.accumulate(np.where(space, 0, offsets + 1).astype(np.int32)))
    plain = np.append(np.minimum.accumulate(np.where(accent, length, offsets)[::-1])[::-1], length)
    return Context(text, filled[pieces.starts], plain[bare[pieces.ends]])
