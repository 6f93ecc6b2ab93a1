"""Tokens, one after the other, to pieces of text that together are the whole of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TextStreamer:
    """A text while it is written. on_text: told of each piece. shown: characters that it was told of."""

    tokenizer: Any
    on_text: Callable[[str], None]
    ids: list[int] = field(default_factory=list)
    shown: int = 0

    def take(self, token: int) -> None:
        """A character whose bytes are not all written yet waits for the rest."""
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if not text.endswith("\ufffd"):
            self.end(text)

    def end(self, text: str) -> None:
        """Tell of what is not shown yet, such as a last character that was never finished."""
        if len(text) > self.shown:
            self.on_text(text[self.shown :])
            self.shown = len(text)
