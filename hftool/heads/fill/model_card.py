"""The model card of a masked language model: a snippet for plain transformers."""

from hftool.models import HeadConfig

FILL = """text = f"the {tokenizer.mask_token} cat"
inputs = tokenizer(text, truncation=True, max_length=$max_length, return_tensors="pt")
with torch.inference_mode():
    logits = model(**inputs).logits
best = logits[inputs["input_ids"] == tokenizer.mask_token_id].topk(5).indices[0]
answer = [tokenizer.decode(i).strip() for i in best]
"""


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    return FILL
