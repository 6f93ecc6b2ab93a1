"""The words of a context that answer a question."""

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
from hftool.heads.protocol import Answer, Batch, Feature, Metrics, Outputs
from hftool.heads.windows import SpecialTokenTemplate, TokenOffsets, cut_windows, special_token_template, token_offsets
from hftool.heads.wire import SPANS, Asks, Parameter, Schema
from hftool.models import HeadConfig

MEASURES = ("f1", "exact_match")
OVERLAP = 128  # tokens that neighbouring windows of a context share, as in the BERT paper's code for SQuAD
LONGEST = 30  # tokens of an answer, as there
MOST = 5  # candidates that are told
BLOCK = 4096  # tokens whose spans are scored at a time: memory is bounded however long the context is


@dataclass(frozen=True)
class Context:
    """A context and the characters starts to ends (N,) of its tokens, without white space around them and with the accents
    that belong to them. A token of white space has none: starts is not under ends."""

    text: str
    starts: np.ndarray
    ends: np.ndarray

    def find(self, start: int, text: str) -> tuple[int, int] | None:
        """The first and the last token that hold characters of `text` at `start`, or None when none does."""
        inner = text.strip()
        first = start + len(text) - len(text.lstrip())
        held = np.flatnonzero((self.starts < self.ends) & (self.starts < first + len(inner)) & (self.ends > first))
        return (int(held[0]), int(held[-1])) if inner and len(held) else None

    def borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Where an answer may begin (N,) and end (N,): not inside a character that bytes or accents make of several tokens.

        So that no two pairs of tokens are the same answer.
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
    """What a feature sees of a context: tokens from `first` on, `size` of them, at position `place` of the feature."""

    context: Context
    first: int
    size: int
    place: int


@dataclass(frozen=True)
class SpanScores:
    """Scores (n,) of the tokens that a feature sees, as the begin and as the end of an answer, and of no answer."""

    context: Context
    first: int
    begins: np.ndarray
    ends: np.ndarray
    null: float


@dataclass(frozen=True)
class AnswerHead:
    """Scores each token of a context as the begin and as the end of the answer. Long contexts are read in windows. Under the
    problem type "answer_or_none" it may say that there is no answer: position 0 stands for that."""

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ()
    row_schemas: ClassVar[tuple[RowSchema, ...]] = (RowSchema(("question", "context"), ("answers",)),)
    outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    batch_tokens: ClassVar[int] = 4096
    sampling: ClassVar[None] = None
    gives: ClassVar[str] = "span"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "top_k": Parameter(kind=int, help="Above 1: a list of the best candidates.", least=1, most=MOST)
    }
    replies: ClassVar[Schema] = SPANS
    asks: ClassVar[Asks] = Asks(texts={"question": "question", "context": "context"})

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """Rows with question and context, and answers if they have them -> features, several for a long context.

        A question is cut at a quarter of max_length, which is counted. Raises UsageError when no room for a context is left.
        """
        if not rows:
            return []
        frame = special_token_template(self.tokenizer, 2)
        questions = token_offsets(self.tokenizer, [self.head_config.prefix + row["question"] for row in rows])
        contexts = token_offsets(self.tokenizer, [row["context"] for row in rows])
        features: list[Feature] = []
        for i, row in enumerate(rows):
            question = questions[i].ids[: self.head_config.max_length // 4 if self.head_config.max_length else None]
            cut = len(questions[i]) - len(question)
            if not frame.runs[0] and not len(question):  # position 0 is no answer: it must not be the context's
                question = np.array([self.tokenizer.pad_token_id], np.int32)
            features += self._features(frame, question, contexts[i], row=row, at=i, cut=cut)
        return features

    def _features(
        self, frame: SpecialTokenTemplate, question: np.ndarray, pieces: TokenOffsets, *, row: Row, at: int, cut: int
    ) -> Iterator[Feature]:
        """The windows of one row, its question in each."""
        size = max(len(pieces), 1)
        if self.head_config.max_length:
            size = self.head_config.max_length - frame.length - len(question)
        if size < 1:
            least = next(n for n in count() if n - max(n // 4, not frame.runs[0]) > frame.length) - 1
            raise UsageError(f"max_length must be over {least} for this model, not {self.head_config.max_length}")
        context = _context(row["context"], pieces)
        answer = _first_answer(context, row["answers"]) if "answers" in row else None
        place = len(frame.runs[0]) + len(question) + len(frame.runs[1])
        windows = cut_windows(len(pieces), size, min(OVERLAP, size // 3))
        holding = [w for w in windows if answer is not None and w.start <= answer[0] and answer[1] < w.end]
        for window in windows:
            ids, segments = frame.around(question, pieces.ids[window.start : window.end])
            target = (0, 0) if "answers" in row else None
            if answer is not None and window in holding:
                target = (place + answer[0] - window.start, place + answer[1] - window.start)
            view = ContextWindow(context, window.start, window.end - window.start, place)
            first = window is windows[0]
            lost = first and answer is not None and not holding
            yield Feature(ids, at, segments, target, cut if first else 0, lost, view)

    def _shift(self, length: int, feature: Feature) -> int:
        """How far padding has moved a feature in a batch of `length` positions."""
        return length - feature.length if self.tokenizer.padding_side == "left" else 0

    def collate(self, features: Sequence[Feature], draw: int = 0) -> Batch:
        """-> input_ids and attention_mask (B, T), token_type_ids (B, T) where the family has them, labels (B, 2) where rows
        have answers: the positions of the first and the last token."""
        left = self.tokenizer.padding_side == "left"
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=left)
        if features[0].target is not None:
            length = batch["input_ids"].shape[1]
            moved = [[place + self._shift(length, feature) for place in feature.target] for feature in features]
            batch["labels"] = torch.tensor(moved)
        return batch

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, int]:
        """Half the cross-entropies of start_logits and end_logits (B, T) against labels (B, 2), summed over the features.

        Over the question's positions, too, as in transformers; not over padding, so that a row weighs the same in any batch.
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
        """start_logits and end_logits (B, T) -> for each feature what it says of its tokens, padding and question left out."""
        parts = []
        for i, feature in enumerate(features):
            view: ContextWindow = feature.extra
            begins, ends = (outputs[name][i].double().numpy() for name in self.outputs)
            shift = self._shift(len(begins), feature)
            seen = slice(shift + view.place, shift + view.place + view.size)
            null = float(begins[shift] + ends[shift])
            parts.append(SpanScores(view.context, view.first, begins[seen].copy(), ends[seen].copy(), null))
        return parts

    def join(self, parts: Sequence[SpanScores]) -> Answer:
        """The windows of a row -> `answer`, its characters `start` to `end` in the context, its probability among all spans
        of at most 30 tokens, and the best `candidates`. A span that two windows score has the larger score.

        The least of the windows' scores for no answer counts: each window but one may be without the answer.
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

    def metrics(self) -> Metrics:
        """What the task is judged by; else F1 over the words of an answer, which decides, with how many are exactly right."""
        return Metrics(self.head_config.measures or MEASURES, higher_is_better=True, report="answers")

    def reply(self, row: Row, answer: Answer, parameters: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """The answer with its characters in the context; "" at 0 to 0 where there is none. With top_k the best candidates."""
        spans = [
            {"answer": text, "score": one["probability"], "start": one["start"] or 0, "end": one["end"] or 0}
            for text, one in ((answer["answer"], answer), *((one["text"], one) for one in answer["candidates"]))
        ]
        wanted = int(parameters.get("top_k", 1))
        return spans[1 : 1 + wanted] if wanted > 1 else spans[0]


def _candidate(context: Context, first: int, last: int, probability: float) -> dict[str, Any]:
    start, end = int(context.starts[first]), int(context.ends[last])
    return {"text": context.text[start:end], "start": start, "end": end, "probability": probability}


Span = tuple[float, int, int]  # score, first token, last token


def best_spans(parts: Sequence[SpanScores]) -> tuple[list[Span], float]:
    """-> the best spans of a context, best first, and the logarithm of the sum of exp(score) over all spans."""
    context = parts[0].context
    may_begin, may_end = context.borders()
    may_end = np.concatenate([may_end, np.zeros(LONGEST, bool)])
    best: list[Span] = []
    total = -np.inf
    for low in range(0, len(may_begin), BLOCK):
        scores = _scores(parts, low, min(low + BLOCK, len(may_begin)))
        high = low + len(scores)
        allowed = may_begin[low:high, None] & sliding_window_view(may_end[low : high + LONGEST - 1], LONGEST)
        flat = np.where(allowed, scores, -np.inf).ravel()
        top = float(flat.max())
        if top == -np.inf:
            continue
        total = np.logaddexp(total, top + np.log(np.exp(flat - top).sum()))
        chosen = np.argpartition(-flat, min(MOST, len(flat) - 1))[:MOST]
        best += [(float(flat[i]), low + int(i) // LONGEST, low + int(i) // LONGEST + int(i) % LONGEST) for i in chosen]
        best = sorted((span for span in best if span[0] > -np.inf), key=lambda span: (-span[0], span[1:]))[:MOST]
    return best, float(total)


def _scores(parts: Sequence[SpanScores], low: int, high: int) -> np.ndarray:
    """Scores (high - low, LONGEST) of the spans that begin with the tokens low to high and have 1, 2, ... tokens."""
    scores = np.full((high - low, LONGEST), -np.inf)
    for part in parts:
        a, b = max(low, part.first), min(high, part.first + len(part.begins))
        if a >= b:
            continue
        ends = part.ends[a - part.first : b - part.first + LONGEST - 1]
        ends = np.concatenate([ends, np.full(b - a + LONGEST - 1 - len(ends), -np.inf)])
        spans = part.begins[a - part.first : b - part.first, None] + sliding_window_view(ends, LONGEST)
        np.maximum(scores[a - low : b - low], spans, out=scores[a - low : b - low])
    return scores


def _first_answer(context: Context, answers: Mapping[str, Sequence[Any]]) -> tuple[int, int] | None:
    if not len(answers["text"]):
        return None
    return context.find(int(answers["answer_start"][0]), str(answers["text"][0]))


def _context(text: str, pieces: TokenOffsets) -> Context:
    """Characters of tokens as answers are cut from them: byte-level tokens begin with a space, BERT's leave accents out."""
    if not len(pieces):
        return Context(text, pieces.starts, pieces.ends)
    place, length = np.arange(len(text), dtype=np.int32), np.int32(len(text))
    space = np.array([char.isspace() for char in text])
    accent = np.array([not char.isascii() and unicodedata.category(char)[0] == "M" for char in text])
    filled = np.append(np.minimum.accumulate(np.where(space, length, place)[::-1])[::-1], length)
    bare = np.append(np.int32(0), np.maximum.accumulate(np.where(space, 0, place + 1).astype(np.int32)))
    plain = np.append(np.minimum.accumulate(np.where(accent, length, place)[::-1])[::-1], length)
    return Context(text, filled[pieces.starts], plain[bare[pieces.ends]])
