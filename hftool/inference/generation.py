"""Text generation: greedy decoding, sampling or beam search.

The same rules end a text in all three:
- An end token ends it (finish "stop") and is not part of it. So does a stop string, which is searched for in the decoded text
  of the new tokens after each of them: the ids are truncated before the token in which the stop string begins, and the
  characters of that token before it are returned as `rest`: ids and rest together are the text before the stop string.
- max_new_tokens or the last position of the model ends it (finish "length"), whichever comes first.
- Its score is the sum of the log-probabilities of its tokens and of the end token, if it has one, under the unmodified model
  (temperature 1, no token excluded).
Of the settings in generation_config.json only eos_token_id is read, and decoder_start_token_id where the config has none.
"""

import math
from typing import Any, Protocol

import torch

from hftool.engines.generation_state import GenerationState
from hftool.errors import UsageError
from hftool.heads.protocol import Batch, GeneratedText, SamplingParams
from hftool.inference.beam_search import beam_search
from hftool.inference.stopping import IsCancelled, StoppingCriteria
from hftool.inference.token_sampling import OnToken, sample_texts

__all__ = ["GenerationEngine", "IsCancelled", "OnToken", "check_sampling", "generate"]


class GenerationEngine(Protocol):
    """An engine that can generate."""

    def begin(self, batch: Batch) -> GenerationState:
        """input_ids and attention_mask (B, T) -> the state of their texts."""
        ...


def generate(
    engine: GenerationEngine,
    batch: Batch,
    sampling: SamplingParams,
    *,
    tokenizer: Any,
    on_token: OnToken | None = None,
    is_cancelled: IsCancelled | None = None,
) -> list[list[GeneratedText]]:
    """Generate `sampling.samples` texts for each row of a batch.

    A sample depends on the seed, its number and the tokens of its prompt alone, so that a row has the same text in any batch.

    Args:
        engine: The model.
        batch: input_ids and attention_mask (B, T); with seeds (B,) each row has its own instead of that of `sampling`.
        sampling: How to generate.
        tokenizer: Decodes tokens to find stop strings.
        on_token: Called with each token of a text as soon as it is certain, if each row has one sample and there are no beams;
            tokens in which a stop string may have begun are held back.
        is_cancelled: Called for each row at each step; the texts of a cancelled row end there and leave the batch.

    Returns:
        The texts of each row; those of a beam search best first.

    Raises:
        UsageError: The sampling parameters contradict each other.
        DataError: The model returns NaN or infinite numbers, or a prompt does not fit it.
    """
    check_sampling(sampling)
    # autocast forgets its bf16 copies of the weights when the outermost one ends: this one, which is off, spans all steps
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        state = engine.begin(batch)
        remaining = state.max_remaining or [sampling.max_new_tokens] * len(batch["input_ids"])
        limits = [min(tokens, sampling.max_new_tokens) for tokens in remaining]
        stopping = StoppingCriteria(frozenset(state.end_ids), sampling.stop, tokenizer)
        is_cancelled = is_cancelled or _never_cancelled
        if sampling.beams > 1:
            return beam_search(state, sampling, limits, stopping, is_cancelled)
        on_token = on_token if sampling.samples == 1 else None
        return sample_texts(state, batch, sampling, limits, stopping, on_token=on_token, is_cancelled=is_cancelled)


def _never_cancelled(row: int) -> bool:
    """No row is cancelled."""
    return False


def check_sampling(sampling: SamplingParams) -> None:
    """Raises UsageError, which names the option of the command line, where the settings are out of range or contradict."""
    d = sampling
    checks = (
        ("--max-new-tokens", d.max_new_tokens, d.max_new_tokens >= 1, "at least 1"),
        ("--temperature", d.temperature, 0 <= d.temperature < math.inf, "at least 0"),
        ("--top-k", d.top_k, d.top_k >= 0, "at least 0"),
        ("--top-p", d.top_p, 0 < d.top_p <= 1, "over 0 and at most 1"),
        ("--beams", d.beams, d.beams >= 1, "at least 1"),
        ("--length-penalty", d.length_penalty, math.isfinite(d.length_penalty), "a number"),
        ("--samples", d.samples, d.samples >= 1, "at least 1"),
    )
    for option, value, fits, wanted in checks:
        if not fits:
            raise UsageError(f"{option} must be {wanted}, not {value}")
    if "" in d.stop:
        raise UsageError("--stop must not be empty: every text has an empty text in it")
    if d.beams > 1 and d.temperature > 0:
        raise UsageError("--beams searches and --temperature draws: one excludes the other", "Leave one of them out")
    if 1 < d.beams < d.samples:
        raise UsageError(f"--samples {d.samples} is more than --beams {d.beams}", "A search ends with as many texts as beams")
    for option, value, usual in (("--top-k", d.top_k, 0), ("--top-p", d.top_p, 1.0)):
        if d.temperature == 0 and value != usual:
            hint = "Leave it out: --beams searches" if d.beams > 1 else "Add --temperature 0.8"
            raise UsageError(f"{option} limits draws, and without --temperature nothing is drawn", hint)
    if d.samples > 1 and d.beams == 1 and d.temperature == 0:
        hint = "Add --temperature 0.8, or --beams with at least as many"
        raise UsageError(f"--samples {d.samples} without --temperature would write the same text {d.samples} times", hint)
