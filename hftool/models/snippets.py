"""The Python example of a model card, which runs the model with plain transformers."""

import json
from string import Template

from hftool.models.head_config import HeadConfig

BEGIN = """import torch
from transformers import $model_class, AutoTokenizer

folder = "."  # this folder, or its name on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = $model_class.from_pretrained(folder).eval()
"""
INPUTS = """inputs = tokenizer($texts, truncation=True, max_length=$max_length, return_tensors="pt")
with torch.inference_mode():
    outputs = model(**inputs)
"""
LABEL = """probabilities = logits.softmax(-1).tolist()
answer = {model.config.id2label[i]: probability for i, probability in enumerate(probabilities)}
"""
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
FILL = """text = f"the {tokenizer.mask_token} cat"
inputs = tokenizer(text, truncation=True, max_length=$max_length, return_tensors="pt")
with torch.inference_mode():
    logits = model(**inputs).logits
best = logits[inputs["input_ids"] == tokenizer.mask_token_id].topk(5).indices[0]
answer = [tokenizer.decode(i).strip() for i in best]
"""
GENERATE = """inputs = tokenizer($texts, return_tensors="pt")
with torch.inference_mode():
    generated = model.generate(**inputs, max_new_tokens=$max_new_tokens, do_sample=False)
"""
NEW_TOKENS = 'new = generated[0, inputs["input_ids"].shape[1] :]\n'
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
STATES = 'states, mask = outputs.last_hidden_state[0], inputs["attention_mask"][0][:, None]\n'


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """Python code that loads the folder and runs it on an example, with the result in `answer`.

    Args:
        head_config: The head config of the model.
        model_class: The class of transformers that loads the folder, such as BertForSequenceClassification.
    """
    text = "the red cat is warm and fine ."
    pair = "text_pair" in head_config.columns and head_config.head != "embed"
    values = {
        "model_class": model_class,
        "texts": ", ".join(map(_quoted, [head_config.prefix + text, *(["the red cat is cold ."] if pair else [])])),
        "question": _quoted(f"{head_config.prefix}where did ann go ?"),
        "prefix": _quoted(head_config.prefix),
        "max_length": head_config.max_length or 512,
        "max_new_tokens": head_config.max_new_tokens or 20,
    }
    return Template(BEGIN + "\n" + _body(head_config, model_class) + "print(answer)").substitute(values)


def _quoted(text: str) -> str:
    """A text as a Python literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _body(head_config: HeadConfig, model_class: str) -> str:
    mean = ".mean(0)" if model_class.endswith("ForTokenClassification") else ""  # T5 scores each token
    unit = " * {1!r} + {0!r}".format(*head_config.label_scale) if head_config.label_scale else ""
    score = f"answer = float(logits){unit}\n" if head_config.problem_type == "regression" else LABEL
    bodies = {
        "classify": f"{INPUTS}logits = outputs.logits[0]{mean}\n{score}",
        "tag": TAGS,
        "answer": SPAN + (NO_SPAN if head_config.problem_type == "answer_or_none" else ""),
        "fill": FILL,
        "embed": INPUTS + STATES + _vector(head_config),
        "text2text": f"{GENERATE}answer = tokenizer.decode(generated[0], skip_special_tokens=True)\n",
        "generate": f"{GENERATE}{NEW_TOKENS}answer = tokenizer.decode(new, skip_special_tokens=True)\n",
    }
    return bodies[head_config.head]


def _vector(head_config: HeadConfig) -> str:
    """The lines that pool `states` with `mask` into an embedding."""
    unprompted = UNPROMPTED if head_config.prefix and not head_config.pool_prefix else ""
    return f"{unprompted}{POOLED[head_config.pooling]}\n{LENGTH_1 if head_config.normalize else ''}"
