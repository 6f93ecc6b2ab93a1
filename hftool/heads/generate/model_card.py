"""The model card of a language model: a snippet for plain transformers."""

from hftool.heads.card_snippets import GENERATE
from hftool.models import HeadConfig


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    return f'{GENERATE}answer = tokenizer.decode(generated[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)\n'
