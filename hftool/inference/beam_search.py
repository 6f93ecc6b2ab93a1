"""Beam search, as transformers defines it with early_stopping=False."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hftool.engines.kv_cache import GenerationState
from hftool.heads.protocol import GeneratedText
from hftool.inference.finite import check_finite
from hftool.inference.stopping import IsCancelled, StoppingCriteria
from hftool.sampling import SamplingParams

Candidate = tuple[float, int, int]  # summed log-probability, index of the beam, token


@dataclass(frozen=True)
class _Hypothesis:
    """The ids of a text so far, and their cumulative log-probabilities."""

    ids: tuple[int, ...] = ()
    sums: tuple[float, ...] = ()


@dataclass
class _BeamSearch:
    """The search for the texts of one prompt."""

    limit: int  # the maximum number of tokens
    beams: list[_Hypothesis]  # the hypotheses that continue
    # the best texts that have ended, with their sums divided by length**length_penalty
    ended: list[tuple[float, GeneratedText]] = field(default_factory=list)

    def advance(self, candidates: Sequence[Candidate], sampling: SamplingParams, stopping: StoppingCriteria) -> list[Candidate]:
        """Choose the beams of the next step from the candidates, which come best first; none when the search is over.

        Only the first `beams` candidates can end a text; the others replace those that do.
        """
        chosen: list[Candidate] = []
        beams, weight = [], 1.0
        for rank, (total, beam, token) in enumerate(candidates):
            if total == -math.inf or len(chosen) == sampling.num_beams:
                break
            parent = self.beams[beam]
            longer = _Hypothesis((*parent.ids, token), (*parent.sums, total))
            length, weight = stopping.length_at_end(longer.ids), len(longer.ids) ** sampling.length_penalty
            if length is None and len(longer.ids) < self.limit:
                chosen.append((total, beam, token))
                beams.append(longer)
            elif rank < sampling.num_beams:
                self.ended.append((total / weight, stopping.result(longer.ids, longer.sums, length)))
        self.ended.sort(key=lambda pair: pair[0], reverse=True)
        del self.ended[sampling.num_beams :]
        self.beams = beams
        full = len(self.ended) == sampling.num_beams
        if not chosen or (full and chosen[0][0] / weight <= self.ended[-1][0]):  # at its present length none is better
            return []
        return chosen


def beam_search(
    state: GenerationState,
    sampling: SamplingParams,
    limits: Sequence[int],
    stopping: StoppingCriteria,
    is_cancelled: IsCancelled,
) -> list[list[GeneratedText]]:
    """Search until no hypothesis could, at its present length, replace one of the best texts that have ended.

    Graves, "Sequence transduction with recurrent neural networks", 2012. `state` is that of the prompts before `prefill`,
    `limits` the maximum number of tokens of each; `is_cancelled` is as for `generate`.

    Returns:
        The samples of each prompt, best first.
    """
    searches = [_BeamSearch(limit, [_Hypothesis()] * sampling.num_beams) for limit in limits]
    logits, running = state.prefill(sampling.num_beams), list(range(len(searches)))  # the prompts whose logits these are
    totals = torch.full((len(searches), sampling.num_beams), -math.inf, device=logits.device)
    totals[:, 0] = 0.0  # at first all beams are the same: only one of them counts
    while running:
        candidates = _candidates(check_finite(logits), totals, count=max(2, 1 + len(stopping.end_ids)) * sampling.num_beams)
        rows, tokens, sums, still = [], [], [], []
        for i, prompt in enumerate(running):
            chosen = searches[prompt].advance(candidates[i], sampling, stopping) if searches[prompt].limit else []
            if not chosen or is_cancelled(prompt):
                continue
            still.append(prompt)
            # stop strings can end more hypotheses than there are spare candidates: fill up with some that never win
            spare = [(-math.inf, chosen[0][1], chosen[0][2])] * (sampling.num_beams - len(chosen))
            for total, beam, token in chosen + spare:
                rows.append(i * sampling.num_beams + beam)
                tokens.append(token)
                sums.append(total)
        running = still
        if running:
            totals = torch.tensor(sums, dtype=totals.dtype, device=logits.device).view(-1, sampling.num_beams)
            logits = state.decode(torch.tensor(tokens, device=logits.device), torch.tensor(rows, device=logits.device))
    empty = GeneratedText((), "length", 0.0)  # the prompt takes all positions
    return [
        [text for _, text in search.ended][: sampling.num_return_sequences] or [empty] * sampling.num_return_sequences
        for search in searches
    ]


def _candidates(logits: torch.Tensor, totals: torch.Tensor, *, count: int) -> list[list[Candidate]]:
    """logits (B * beams, V), totals (B, beams) -> the best continuations of each prompt, best first."""
    width = logits.shape[-1]
    sums = (logits.log_softmax(dim=-1).view(*totals.shape, width) + totals[:, :, None]).flatten(start_dim=1)
    best = sums.topk(min(count, sums.shape[-1]), dim=-1)
    return [
        [(total, index // width, index % width) for total, index in zip(*pair, strict=True)]
        for pair in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
