"""Texts written token by token: the most probable token, draws, or a search with beams.

What a text is and when it ends is the same for all three:
- An end token ends it (finish "stop") and is no part of it. So does a stop string, looked for in the decoded text of the new
  tokens after each of them: the ids are cut before the token in which the stop string begins, and the characters which that
  token has before it are told aside, so that the text is all that stands before the stop string.
- max_new_tokens, or the last position of the model, ends it too (finish "length"), the first of the two that is reached.
- Its score is the sum of the log-probabilities, under the model as it is (temperature 1, no token left out), of its tokens and
  of the end token, if it has one.
Of the settings in generation_config.json only eos_token_id is read, and decoder_start_token_id where the config has none.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from hftool.engines.generation_state import GenerationState
from hftool.errors import DataError
from hftool.heads.protocol import Batch, GeneratedText
from hftool.sampling import SamplingParams

OnToken = Callable[[int, int], None]  # row in the batch, token id
IsCancelled = Callable[[int], bool]  # row in the batch -> whether nobody waits for its texts any more


class GenerationEngine(Protocol):
    """What can begin to write."""

    def begin(self, batch: Batch) -> GenerationState:
        """input_ids and attention_mask (B, T) -> the steps of their texts."""
        ...


@dataclass(frozen=True)
class StoppingCriteria:
    """How a text ends: with one of the end tokens, or before one of the stop strings."""

    ids: frozenset[int]
    stop: tuple[str, ...]
    tokenizer: Any

    def kept(self, ids: Sequence[int]) -> int | None:
        """How many of these ids are the text, if it ends with the last of them; None if it goes on."""
        if ids[-1] in self.ids:
            return len(ids) - 1
        if not self.stop:
            return None
        before = self._before_stop(self.tokenizer.decode(list(ids)))
        return None if before is None else self._within(ids, before)

    def _before_stop(self, text: str) -> str | None:
        """The text up to the first stop string in it, None where there is none."""
        places = [place for word in self.stop if (place := text.find(word)) >= 0]
        return text[: min(places)] if places else None

    def certain(self, ids: Sequence[int]) -> int:
        """How many of these ids are the text, whatever follows: a stop string may have begun in the others."""
        if not self.stop:
            return len(ids)
        text = self.tokenizer.decode(list(ids)).rstrip("\ufffd")  # half a character may become the first of a stop string
        begun = [size for word in self.stop for size in range(1, min(len(word), len(text) + 1)) if text.endswith(word[:size])]
        return self._within(ids, text[: len(text) - max(begun, default=0)])

    def _within(self, ids: Sequence[int], text: str) -> int:
        """The most tokens whose text is a beginning of `text`."""
        return next(n for n in range(len(ids), -1, -1) if text.startswith(self.tokenizer.decode(list(ids[:n])) if n else ""))

    def written(self, ids: Sequence[int], sums: Sequence[float], kept: int | None) -> GeneratedText:
        """sums: the log-probabilities of the ids, added up to each. kept: as above, None when the length was reached."""
        if kept is None:
            return GeneratedText(tuple(ids), "length", sums[-1] if sums else 0.0)
        if ids[-1] in self.ids:
            return GeneratedText(tuple(ids[:kept]), "stop", sums[-1])
        known = self.tokenizer.decode(list(ids[:kept])) if kept else ""
        before = self._before_stop(self.tokenizer.decode(list(ids))) or ""
        return GeneratedText(tuple(ids[:kept]), "stop", sums[kept - 1] if kept else 0.0, before[len(known) :])


def generate(
    engine: GenerationEngine,
    batch: Batch,
    sampling: SamplingParams,
    *,
    tokenizer: Any,
    on_token: OnToken | None = None,
    is_cancelled: IsCancelled | None = None,
) -> list[list[GeneratedText]]:
    """Write after each row of input_ids and attention_mask (B, T) -> `decoding.samples` texts for each row, for beams the best
    first. Where the batch has seeds (B,), each row draws by its own instead of that of `sampling`.

    on_token: told of each token of a text as soon as it is certain, where one text is written for each row and without beams;
    tokens in which a stop string may have begun are held back. gone: asked of each row at each step; the texts of one that is
    given up end there and leave the batch, with what they have. A draw depends on the seed, the number of the sample and the
    tokens of its prompt, so that a row has the same text in any batch. Raises UsageError where the settings do not go
    together, DataError when the model answers with numbers that are none or a prompt does not fit it.
    """
    check_sampling(sampling)
    # autocast forgets its bf16 copies of the weights when the outermost one ends: this one, which is off, spans all steps
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        steps = engine.begin(batch)
        rooms = steps.room or [sampling.max_new_tokens] * len(batch["input_ids"])
        limits = [min(room, sampling.max_new_tokens) for room in rooms]
        ending = StoppingCriteria(frozenset(steps.end_ids), sampling.stop, tokenizer)
        if sampling.beams > 1:
            return _beam_search(steps, sampling, limits, ending, is_cancelled or _nobody)
        lines = _begun(batch, sampling, limits)
        _generate_sequences(
            steps,
            sampling,
            lines,
            ending,
            on_token=on_token if sampling.samples == 1 else None,
            is_cancelled=is_cancelled or _nobody,
        )
    made = [line.made for line in lines if line.made]
    return [made[i : i + sampling.samples] for i in range(0, len(made), sampling.samples)]


def check_sampling(sampling: SamplingParams) -> None:
    """Raise UsageError where a value is out of its range, or two of them contradict each other."""
    sampling.check()


def _nobody(row: int) -> bool:
    """No row is given up."""
    return False


# ---- the most probable token, or draws


@dataclass
class _Sequence:
    """A text while it is written. sums: as in Ending.written. told: how many of its tokens on_token knows."""

    row: int
    limit: int
    draws: random.Random
    ids: list[int] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    told: int = 0
    made: GeneratedText | None = None

    def take(self, token: int, log: float, ending: StoppingCriteria) -> None:
        """Go on with a token; with its end the text is made."""
        if len(self.ids) < self.limit:  # not so where the prompt took all positions
            self.ids.append(token)
            self.sums.append(log + (self.sums[-1] if self.sums else 0.0))
            kept = ending.kept(self.ids)
            if kept is not None:
                self.made = ending.written(self.ids, self.sums, kept)
                return
        if len(self.ids) >= self.limit:
            self.made = ending.written(self.ids, self.sums, None)

    def tell(self, on_token: OnToken, ending: StoppingCriteria) -> None:
        """Tell of the tokens that have become certain."""
        certain = self.made.ids if self.made else self.ids[: ending.certain(self.ids)]
        for token in certain[self.told :]:
            on_token(self.row, token)
        self.told = max(self.told, len(certain))


def _begun(batch: Batch, sampling: SamplingParams, limits: Sequence[int]) -> list[_Sequence]:
    """A line for each sample of each row, side by side, with its own source of random numbers."""
    lines = []
    seeds = batch["seeds"].tolist() if "seeds" in batch else [sampling.seed] * len(limits)
    for row, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        prompt = ids[mask.bool()].tolist()
        for sample in range(sampling.samples):
            lines.append(_Sequence(row, limits[row], random.Random(f"{seeds[row]} {sample} {prompt}")))
    return lines


def _generate_sequences(
    steps: GenerationState,
    sampling: SamplingParams,
    lines: Sequence[_Sequence],
    ending: StoppingCriteria,
    *,
    on_token: OnToken | None,
    is_cancelled: IsCancelled,
) -> None:
    """Write all lines to their ends. A line that is made leaves the batch: the others do not wait for it."""
    logits, going = steps.first(sampling.samples), list(lines)
    while True:
        tokens = _chosen(_check_finite(logits), going, sampling)
        logs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        for line, token, log in zip(going, tokens.tolist(), logs.tolist(), strict=True):
            line.take(token, log, ending)
            if line.made is None and is_cancelled(line.row):
                line.made = ending.written(line.ids, line.sums, None)
            elif on_token is not None:
                line.tell(on_token, ending)
        rows = [i for i, line in enumerate(going) if line.made is None]
        if not rows:
            return
        if len(rows) == len(going):
            logits = steps.next(tokens)
        else:
            kept = torch.tensor(rows, device=tokens.device)
            logits, going = steps.next(tokens[kept], kept), [going[i] for i in rows]


def _chosen(logits: torch.Tensor, lines: Sequence[_Sequence], sampling: SamplingParams) -> torch.Tensor:
    """logits (N, V) -> the next token of each line (N,)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # one number a line, and the same on every device: where it falls among the summed probabilities decides. These are added
    # in float64 where the device has it, as many small ones are lost in float32
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    sums = allowed_scores(logits, sampling).softmax(dim=-1).cumsum(dim=-1, dtype=exact)
    sums = sums / sums[:, -1:]
    draws = torch.tensor([line.draws.random() for line in lines], dtype=exact, device=logits.device)
    # the first sum that is larger: a token of probability 0 adds nothing to the sum before it and is never the first
    return torch.searchsorted(sums, draws.clamp(max=1 - torch.finfo(exact).eps)[:, None], right=True)[:, 0]


def allowed_scores(logits: torch.Tensor, sampling: SamplingParams) -> torch.Tensor:
    """logits (N, V) -> what is drawn from, after the temperature: -inf for tokens outside of top_k, then outside of top_p."""
    least = torch.finfo(torch.float32).tiny  # what is below it is 0 to a tensor, and divides into NaN
    scores = (logits - logits.amax(dim=-1, keepdim=True)) / max(sampling.temperature, least)  # so that nothing overflows
    if 0 < sampling.top_k < scores.shape[-1]:
        last = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < last, -math.inf)
    if sampling.top_p < 1:
        ordered, tokens = scores.sort(dim=-1, descending=True)
        chances = ordered.softmax(dim=-1)
        before = chances.cumsum(dim=-1) - chances  # of all that are more probable: the first has none before it and stays
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(1, tokens, before >= max(sampling.top_p, least))
        scores = scores.masked_fill(outside, -math.inf)
    return scores


def _check_finite(logits: torch.Tensor) -> torch.Tensor:
    """The logits. Raises DataError when one of them is NaN or infinite: then so is the sum of its row."""
    if not bool(torch.isfinite(logits.sum(dim=-1)).all()):
        raise DataError("the model answers with NaN or infinite numbers: its weights are damaged")
    return logits


# ---- the search with beams


@dataclass(frozen=True)
class _Hypothesis:
    """A text that may become the best: its ids and their summed log-probabilities, so far."""

    ids: tuple[int, ...] = ()
    sums: tuple[float, ...] = ()


@dataclass
class _BeamSearch:
    """The search for the texts of one prompt: those that go on, as many as there are beams, and the best that have ended, each
    with its sum divided by length**length_penalty."""

    limit: int
    beams: list[_Hypothesis]
    ended: list[tuple[float, GeneratedText]] = field(default_factory=list)

    def go_on(
        self, candidates: Sequence[tuple[float, int, int]], sampling: SamplingParams, ending: StoppingCriteria
    ) -> list[tuple[float, int, int]]:
        """Candidates (sum, beam, token), best first -> those of them that are the beams of the next step; none when the search
        is over. Only among the first `beams` candidates can a text end; the others stand in for those that do."""
        going: list[tuple[float, int, int]] = []
        beams, weight = [], 1.0
        for rank, (total, beam, token) in enumerate(candidates):
            if total == -math.inf or len(going) == sampling.beams:
                break
            known = self.beams[beam]
            made = _Hypothesis((*known.ids, token), (*known.sums, total))
            kept, weight = ending.kept(made.ids), len(made.ids) ** sampling.length_penalty
            if kept is None and len(made.ids) < self.limit:
                going.append((total, beam, token))
                beams.append(made)
            elif rank < sampling.beams:
                self.ended.append((total / weight, ending.written(made.ids, made.sums, kept)))
        self.ended.sort(key=lambda pair: pair[0], reverse=True)
        del self.ended[sampling.beams :]
        self.beams = beams
        full = len(self.ended) == sampling.beams
        if not going or (full and going[0][0] / weight <= self.ended[-1][0]):  # none that goes on is better, as it stands now
            return []
        return going


def _beam_search(
    steps: GenerationState, sampling: SamplingParams, limits: Sequence[int], ending: StoppingCriteria, is_cancelled: IsCancelled
) -> list[list[GeneratedText]]:
    """Beam search as transformers defines it, with early_stopping False: Graves, "Sequence transduction with recurrent neural
    networks", 2012, until no text that goes on could, at its present length, replace one of the best that have ended."""
    hunts = [_BeamSearch(limit, [_Hypothesis()] * sampling.beams) for limit in limits]
    logits, places = steps.first(sampling.beams), list(range(len(hunts)))  # places: whose rows the logits are
    totals = torch.full((len(hunts), sampling.beams), -math.inf, device=logits.device)
    totals[:, 0] = 0.0  # at first all beams are the same: only one of them counts
    while places:
        candidates = _candidates(_check_finite(logits), totals, count=max(2, 1 + len(ending.ids)) * sampling.beams)
        rows, tokens, sums, still = [], [], [], []
        for at, place in enumerate(places):
            going = hunts[place].go_on(candidates[at], sampling, ending) if hunts[place].limit else []
            if not going or is_cancelled(place):
                continue
            still.append(place)
            spare = [(-math.inf, going[0][1], going[0][2])] * (sampling.beams - len(going))  # stop strings can end too many
            for total, beam, token in going + spare:
                rows.append(at * sampling.beams + beam)
                tokens.append(token)
                sums.append(total)
        places = still
        if places:
            totals = torch.tensor(sums, dtype=totals.dtype, device=logits.device).view(-1, sampling.beams)
            logits = steps.next(torch.tensor(tokens, device=logits.device), torch.tensor(rows, device=logits.device))
    nothing = GeneratedText((), "length", 0.0)  # the prompt took all positions
    return [[text for _, text in hunt.ended][: sampling.samples] or [nothing] * sampling.samples for hunt in hunts]


def _candidates(logits: torch.Tensor, totals: torch.Tensor, *, count: int) -> list[list[tuple[float, int, int]]]:
    """logits (B * beams, V), totals (B, beams) -> for each prompt the best continuations: sum, beam and token, best first."""
    width = logits.shape[-1]
    sums = (logits.log_softmax(dim=-1).view(*totals.shape, width) + totals[:, :, None]).flatten(start_dim=1)
    best = sums.topk(min(count, sums.shape[-1]), dim=-1)
    return [
        [(total, place // width, place % width) for total, place in zip(*pair, strict=True)]
        for pair in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
