"""The Python example of a model card, which runs the model with plain transformers, and the parts that several heads share."""

import json
from functools import partial
from string import Template

from hftool.models import HeadConfig
from hftool.registry.heads import head_spec

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
GENERATE = """inputs = tokenizer($texts, return_tensors="pt")
with torch.inference_mode():
    generated = model.generate(**inputs, max_new_tokens=$max_new_tokens, do_sample=False)
"""
_quoted = partial(json.dumps, ensure_ascii=False)  # a text as a Python literal in double quotes


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """Python code that loads the folder and runs it on an example, with the result in `answer`."""
    text = "the red cat is warm and fine ."
    spec = head_spec(head_config.head)
    pair = spec.takes_pairs(head_config.columns)
    body = spec.module("model_card").snippet(head_config, model_class)
    values = {
        "model_class": model_class,
        "texts": ", ".join(map(_quoted, [head_config.prefix + text, *(["the red cat is cold ."] if pair else [])])),
        "question": _quoted(f"{head_config.prefix}where did ann go ?"),
        "prefix": _quoted(head_config.prefix),
        "max_length": head_config.max_length or 512,
        "max_new_tokens": head_config.max_new_tokens or 20,
    }
    return Template(f"{BEGIN}\n{body}print(answer)").substitute(values)
