"""One file for each kind of answer. `protocol.Head` says what a head must do; `get_head` finds it by its verb."""

import importlib
from typing import Any

from hftool.errors import UsageError, did_you_mean
from hftool.heads.protocol import Head
from hftool.models import HeadConfig

CLASSES = {
    "classify": "ClassifyHead",
    "tag": "TagHead",
    "answer": "AnswerHead",
    "text2text": "Text2TextHead",
    "generate": "GenerateHead",
    "fill": "FillHead",
    "embed": "EmbedHead",
}
HEADS = tuple(CLASSES)


def head_class(name: str) -> Any:
    """The class of the head called `name`. Raises UsageError with the nearest name."""
    if name not in CLASSES:
        raise UsageError(f"unknown head '{name}'", did_you_mean(name, HEADS, otherwise="Heads: " + ", ".join(HEADS)))
    return getattr(importlib.import_module(f"hftool.heads.{name}.head"), CLASSES[name])


def get_head(tokenizer: Any, head_config: HeadConfig, config: Any = None) -> Head:
    """The head that the card names, with its tokenizer and card, and the transformers config of its model."""
    head: Head = head_class(head_config.head)(tokenizer=tokenizer, head_config=head_config, config=config)
    return head
