"""The model card of a tagger: a snippet for plain transformers."""

from hftool.models import HeadConfig

TAGS = """text = "Ann Lee went to Rome ."
inputs = tokenizer(text, truncation=True, max_length=$max_length, return_tensors="pt")
with torch.inference_mode():
    best = model(**inputs).logits[0].argmax(-1).tolist()
answer, offset = [], 0
for word in text.split():  # the tag of a word is that of its first token
    offset = text.index(word, offset)
    answer.append((word, model.config.id2label[best[inputs.char_to_token(offset)]]))
    offset += len(word)
"""


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    return TAGS
