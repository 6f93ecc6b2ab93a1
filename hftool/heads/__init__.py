"""One file for each kind of answer. `protocol.Head` says what a head must do; `get_head` finds it by its verb."""

from typing import Any

from hftool.errors import UsageError, did_you_mean
from hftool.heads.protocol import Head
from hftool.models import Card

HEADS = ("classify",)


def head_class(name: str) -> Any:
    """The class of the head called `name`. Raises UsageError with the nearest name."""
    if name not in HEADS:
        raise UsageError(f"unknown head '{name}'", did_you_mean(name, HEADS, otherwise="Heads: " + ", ".join(HEADS)))
    from hftool.heads.classify import ClassifyHead

    return {"classify": ClassifyHead}[name]


def get_head(tokenizer: Any, card: Card) -> Head:
    """The head that the card names, with its tokenizer and card."""
    head: Head = head_class(card.head)(tokenizer=tokenizer, card=card)
    return head
