"""Incremental detokenization: the text of generated tokens, piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WINDOW = 8  # tokens after which older ones leave the window


@dataclass
class TextStreamer:
    """Passes on the text of tokens as they come; the pieces together are the text of all of them.

    Each token is decoded with at most 16 before it, not with all. `tokenizers.decoders.DecodeStream` does the same for fast
    tokenizers, but raises where byte-fallback tokens become invalid UTF-8: this would be needed in any case.
    """

    tokenizer: Any  # a tokenizer of transformers, fast or slow
    on_text: Callable[[str], None]  # called with each piece
    shown: int = 0  # number of characters that were passed on
    _window: list[int] = field(default_factory=list)
    _passed: int = 0  # characters of the window's text that were passed on
    _next: int = 0  # index in the window of the first token of the next one; no character continues across it

    def take(self, token: int) -> None:
        """Add a token. A character whose last bytes are still missing is held back."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith("\ufffd"):
            return
        self._pass_on(text[self._passed :])
        self._passed = max(self._passed, len(text))
        if len(self._window) >= self._next + WINDOW:
            rest = self._decode(self._window[self._next :])
            if rest:  # else it has special tokens alone, and the next token would lose its space as the first of a text does
                del self._window[: self._next]
                self._passed += len(rest) - len(text)
            self._next = len(self._window)

    def end(self, text: str) -> None:
        """Pass on what is missing of the whole text, such as a last character that was never completed."""
        self._pass_on(text[self.shown :])

    def _pass_on(self, piece: str) -> None:
        if piece:
            self.on_text(piece)
            self.shown += len(piece)

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
