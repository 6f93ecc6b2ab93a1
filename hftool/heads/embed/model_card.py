"""The model card of an embedding model: a snippet for plain transformers, and facts on its vectors."""

from hftool.heads.card_snippets import INPUTS
from hftool.models import HeadConfig

STATES = 'states, mask = outputs.last_hidden_state[0], inputs["attention_mask"][0][:, None]\n'
POOLED = {
    "mean": "answer = (states * mask).sum(0) / mask.sum(0)",
    "cls": "answer = states[0]",
    "max": "answer = states[mask[:, 0] > 0].amax(0)",
    "mean_sqrt_len_tokens": "answer = (states * mask).sum(0) / mask.sum(0).sqrt()",
}
UNPROMPTED = """prompt = len(tokenizer($prefix)["input_ids"]) - 1  # without the end token, which is not in the text
states, mask = states[prompt:], mask[prompt:]
"""
LENGTH_1 = "answer = answer / answer.norm()\n"


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    unprompted = UNPROMPTED if head_config.prefix and not head_config.pool_prefix else ""
    length = LENGTH_1 if head_config.normalize else ""
    return f"{INPUTS}{STATES}{unprompted}{POOLED[head_config.pooling]}\n{length}"


def facts(head_config: HeadConfig, model_class: str) -> list[str]:
    """Sentences on what a user needs to know to get the same answers."""
    length = ", normalized to length 1" if head_config.normalize else ""
    return [f"The embedding of a text is the {head_config.pooling} of its tokens' last hidden states{length}."]
