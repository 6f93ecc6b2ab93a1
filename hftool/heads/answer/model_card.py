"""The model card of a question-answering model: a snippet for plain transformers."""

from hftool.models import HeadConfig

SPAN = """question, context = $question, "Ann Lee went to Rome with a hat ."
options = {"truncation": "only_second", "max_length": $max_length, "return_offsets_mapping": True, "return_tensors": "pt"}
inputs = tokenizer(question, context, **options)
characters = inputs.pop("offset_mapping")[0].tolist()
with torch.inference_mode():
    outputs = model(**inputs)
starts, ends = outputs.start_logits[0], outputs.end_logits[0]
inside = torch.tensor([part == 1 for part in inputs.sequence_ids()])
allowed = (inside[:, None] & inside[None]).triu().tril(29)  # answers of at most 30 tokens, in the context
scores = (starts[:, None] + ends[None]).masked_fill(~allowed, -torch.inf)
first, last = divmod(int(scores.argmax()), len(starts))
answer = context[characters[first][0] : characters[last][1]]
"""
NO_SPAN = 'if scores.max() < starts[0] + ends[0]:\n    answer = ""  # the context has no answer\n'


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    return SPAN + (NO_SPAN if head_config.problem_type == "answer_or_none" else "")
