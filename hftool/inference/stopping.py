"""When a generated text ends: at an end token, or before a stop string."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hftool.heads.protocol import GeneratedText

IsCancelled = Callable[[int], bool]  # row in the batch -> True once the client has disconnected
CHARACTER = 4  # tokens that a character may need: its bytes in UTF-8
MARGIN = 8  # tokens and characters decoded in front of a stop string: the first token of a text may be decoded differently


@dataclass(frozen=True)
class StoppingCriteria:
    """End tokens and stop strings.

    Each token is decoded with the few before it in which a stop string could begin, not with all: a text of any length costs
    the same at each step (benchmarks/generate_stop.py). The whole text is decoded where a stop string is found.
    """

    end_ids: frozenset[int]  # tokens that end a text; they are not part of it
    stop: tuple[str, ...]  # strings that end a text; they are searched for in the decoded text of the new tokens
    tokenizer: Any  # decodes token ids; used for stop strings only

    def length_at_end(self, ids: Sequence[int]) -> int | None:
        """How many of these ids are the text, if it ends with the last of them; None if it continues."""
        if ids[-1] in self.end_ids:
            return len(ids) - 1
        if not self.stop or self._before_stop(self._ending(ids)[1]) is None:
            return None
        before = self._before_stop(self._decode(ids))
        return None if before is None else self._longest_prefix(ids, before)

    def settled(self, ids: Sequence[int]) -> int:
        """How many of these ids are part of the text, whatever follows: a stop string may begin in the others."""
        if not self.stop:
            return len(ids)
        start, text = self._ending(ids)
        complete = text.rstrip("\ufffd")  # half a character may become the first of a stop string
        sizes = [n for word in self.stop for n in range(1, min(len(word), len(complete) + 1)) if complete.endswith(word[:n])]
        held = max(sizes, default=0)
        if complete == text and not held:
            return len(ids)
        return start + self._longest_prefix(ids[start:], complete[: len(complete) - held])

    def result(self, ids: Sequence[int], sums: Sequence[float], length: int | None) -> GeneratedText:
        """The text of these ids, the end token included, with their cumulative log-probabilities.

        `length` is as `length_at_end` returns it, None where the maximum length was reached or the text was cancelled.
        """
        if length is None:
            return GeneratedText(tuple(ids), "length", sums[-1] if sums else 0.0)
        if ids[-1] in self.end_ids:
            return GeneratedText(tuple(ids[:length]), "stop", sums[-1])
        known = self._decode(ids[:length])
        before = self._before_stop(self._decode(ids)) or ""
        return GeneratedText(tuple(ids[:length]), "stop", sums[length - 1] if length else 0.0, before[len(known) :])

    @cached_property
    def _longest(self) -> int:
        """The number of characters of the longest stop string."""
        return max(map(len, self.stop))

    def _ending(self, ids: Sequence[int]) -> tuple[int, str]:
        """The last ids as the index of their first, and their text, which is the end of the text of all.

        The text is longer than any stop string, without what may change: a character that is incomplete at its end.
        """
        size = CHARACTER * self._longest + MARGIN
        while size < len(ids) and not any("\ufffd" in stop for stop in self.stop):
            for start in range(len(ids) - size, max(0, len(ids) - size - CHARACTER), -1):
                text = self._decode(ids[start:])
                if not text.startswith("\ufffd"):  # else it may begin within a character
                    break
            if len(text.rstrip("\ufffd")) >= self._longest + MARGIN:
                return start, text
            size *= 2
        return 0, self._decode(ids)

    def _before_stop(self, text: str) -> str | None:
        """The text before the first stop string in it, None where there is none."""
        offsets = [offset for word in self.stop if (offset := text.find(word)) >= 0]
        return text[: min(offsets)] if offsets else None

    def _longest_prefix(self, ids: Sequence[int], text: str) -> int:
        """The largest number of leading ids whose text is a prefix of `text`."""
        return next(n for n in range(len(ids), -1, -1) if text.startswith(self._decode(ids[:n])))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids))) if ids else ""
