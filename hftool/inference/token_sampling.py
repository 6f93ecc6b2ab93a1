"""Greedy decoding and sampling."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from hftool.engines.kv_cache import GenerationState
from hftool.heads.protocol import Batch, GeneratedText
from hftool.inference.finite import check_finite
from hftool.inference.stopping import IsCancelled, StoppingCriteria
from hftool.sampling import SamplingParams

OnToken = Callable[[int, int], None]  # row in the batch, token id


@dataclass
class _Sequence:
    """A text while it is generated.

    Args:
        row: Its prompt's row in the batch.
        limit: The maximum number of tokens.
        random: Where its samples are drawn from.
        ids: Its tokens so far.
        sums: Their cumulative log-probabilities.
        reported: How many of the tokens were passed to on_token.
        result: The text, once it has ended.
    """

    row: int
    limit: int
    random: random.Random
    ids: list[int] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    reported: int = 0
    result: GeneratedText | None = None

    def append(self, token: int, log_probability: float, stopping: StoppingCriteria) -> None:
        """Add a token, and set the result if the text ends with it."""
        if len(self.ids) < self.limit:  # not so where the prompt takes all positions
            self.ids.append(token)
            self.sums.append(log_probability + (self.sums[-1] if self.sums else 0.0))
            length = stopping.length_at_end(self.ids)
            if length is not None:
                self.result = stopping.result(self.ids, self.sums, length)
                return
        if len(self.ids) >= self.limit:
            self.result = stopping.result(self.ids, self.sums, None)

    def report(self, on_token: OnToken, stopping: StoppingCriteria) -> None:
        """Pass on the tokens that are certain to be part of the text."""
        settled = len(self.result.ids) if self.result else stopping.settled(self.ids)
        for token in self.ids[self.reported : settled]:
            on_token(self.row, token)
        self.reported = max(self.reported, settled)


def sample_texts(
    state: GenerationState,
    batch: Batch,
    sampling: SamplingParams,
    limits: Sequence[int],
    stopping: StoppingCriteria,
    *,
    on_token: OnToken | None,
    is_cancelled: IsCancelled,
) -> list[list[GeneratedText]]:
    """Greedy decoding at temperature 0, sampling above. A text that has ended leaves the batch: the others do not wait for it.

    `state` is that of the prompts in the batch before `prefill`, `limits` the maximum number of tokens of each row. The batch
    has input_ids and attention_mask (B, T), and seeds (B,) where each row has its own. Callbacks are as for `generate`.

    Returns:
        The samples of each row.
    """
    sequences = _start(batch, sampling, limits)
    logits, running = state.prefill(sampling.num_return_sequences), sequences
    while True:
        tokens = _choose(check_finite(logits), running, sampling)
        logs = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]
        for sequence, token, log in zip(running, tokens.tolist(), logs.tolist(), strict=True):
            sequence.append(token, log, stopping)
            if sequence.result is None and is_cancelled(sequence.row):
                sequence.result = stopping.result(sequence.ids, sequence.sums, None)
            elif on_token is not None:
                sequence.report(on_token, stopping)
        rows = [i for i, sequence in enumerate(running) if sequence.result is None]
        if not rows:
            break
        if len(rows) == len(running):
            logits = state.decode(tokens)
        else:
            kept = torch.tensor(rows, device=tokens.device)
            logits, running = state.decode(tokens[kept], kept), [running[i] for i in rows]
    texts = [sequence.result for sequence in sequences if sequence.result]
    return [texts[i : i + sampling.num_return_sequences] for i in range(0, len(texts), sampling.num_return_sequences)]


def _start(batch: Batch, sampling: SamplingParams, limits: Sequence[int]) -> list[_Sequence]:
    """The samples of each row, one after the other; the random generator of each depends on its prompt, not on the batch."""
    sequences = []
    seeds = batch["seeds"].tolist() if "seeds" in batch else [sampling.seed] * len(limits)
    for row, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        prompt = ids[mask.bool()].tolist()
        for sample in range(sampling.num_return_sequences):
            sequences.append(_Sequence(row, limits[row], random.Random(f"{seeds[row]} {sample} {prompt}")))
    return sequences


def _choose(logits: torch.Tensor, sequences: Sequence[_Sequence], sampling: SamplingParams) -> torch.Tensor:
    """logits (N, V) -> the next token of each sequence (N,)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # Inverse transform sampling with one random number for each sequence, the same on every device. The cumulative
    # probabilities are float64 where the device has it: many small ones are lost in float32.
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = filter_logits(logits, sampling).softmax(dim=-1).cumsum(dim=-1, dtype=exact)
    cumulative = cumulative / cumulative[:, -1:]
    draws = torch.tensor([sequence.random.random() for sequence in sequences], dtype=exact, device=logits.device)
    # the first that is larger: a token of probability 0 adds nothing to the sum before it and is never the first
    return torch.searchsorted(cumulative, draws.clamp(max=1 - torch.finfo(exact).eps)[:, None], right=True)[:, 0]


def filter_logits(logits: torch.Tensor, sampling: SamplingParams) -> torch.Tensor:
    """logits (N, V) -> logits after the temperature, with -inf for tokens outside of top_k, then outside of top_p."""
    least = torch.finfo(torch.float32).tiny  # smaller ones are 0 in a tensor, and dividing by 0 gives NaN
    scores = (logits - logits.amax(dim=-1, keepdim=True)) / max(sampling.temperature, least)  # so that nothing overflows
    if 0 < sampling.top_k < scores.shape[-1]:
        last = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < last, -math.inf)
    if sampling.top_p < 1:
        ordered, tokens = scores.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # of all more probable tokens: 0 for the first, which stays
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, tokens, before >= max(sampling.top_p, least))
        scores = scores.masked_fill(outside, -math.inf)
    return scores
