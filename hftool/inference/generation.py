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

from typing import Any, Protocol

import torch

from hftool.engines.kv_cache import GenerationState
from hftool.heads.protocol import Batch, GeneratedText
from hftool.inference.beam_search import beam_search
from hftool.inference.stopping import IsCancelled, StoppingCriteria
from hftool.inference.token_sampling import OnToken, sample_texts
from hftool.sampling import SamplingParams

__all__ = ["GenerationEngine", "IsCancelled", "OnToken", "generate"]


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
    """Generate `sampling.num_return_sequences` texts for each row of a batch.

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
    sampling.check()
    # autocast forgets its bf16 copies of the weights when the outermost one ends: this one, which is off, spans all steps
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        state = engine.begin(batch)
        remaining = state.max_remaining or [sampling.max_new_tokens] * len(batch["input_ids"])
        limits = [min(tokens, sampling.max_new_tokens) for tokens in remaining]
        stopping = StoppingCriteria(frozenset(state.end_ids), sampling.stop, tokenizer)
        is_cancelled = is_cancelled or (lambda row: False)
        if sampling.num_beams > 1:
            return beam_search(state, sampling, limits, stopping, is_cancelled)
        on_token = on_token if sampling.num_return_sequences == 1 else None
        return sample_texts(state, batch, sampling, limits, stopping, on_token=on_token, is_cancelled=is_cancelled)
