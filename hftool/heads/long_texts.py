"""Texts on their way through the tokenizer, which takes more than a hundred times their memory: a group at a time, long ones
shortened to what a model can read, or in parts."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

GROUP = 1 << 20  # characters that go through the tokenizer at a time
LONG = 1 << 17  # characters of a text that goes through it whole
LONGEST = 1 << 21  # characters among which the first tokens of a text are looked for
MARGIN = 32  # tokens before the end of a part that its end could have changed
NEAR = 1 << 12  # characters before the end of a part among which a border is looked for first
BETWEEN_WORDS = re.compile(r"(?<=\S)[ \n](?=\S)")


def groups(*texts: Sequence[str]) -> Iterator[slice]:
    """Which rows go through the tokenizer together.

    Args:
        texts: The texts of the rows; of pairs the second ones, too.

    Yields:
        Consecutive rows of together at most GROUP characters, or a single longer one.
    """
    start, size = 0, 0
    for i, row in enumerate(zip(*texts, strict=True)):
        length = sum(map(len, row))
        if i > start and size + length > GROUP:
            yield slice(start, i)
            start, size = i, 0
        size += length
    if texts[0]:
        yield slice(start, len(texts[0]))


def shorten(tokenizer: Any, text: str, limit: int, *, size: int = 0) -> tuple[str, int]:
    """As much of a text as decides on its first tokens.

    Args:
        tokenizer: The tokenizer of the model.
        text: The text.
        limit: How many tokens the model reads; 0 is all.
        size: How many characters are tried first; by default LONG.

    Returns:
        The text, or a beginning of it that has more than `limit` tokens (or LONGEST characters), and about how many tokens the
        rest has. A tokenizer that cuts the beginning of a text gets all of it.
    """
    size = size or LONG
    if not limit or len(text) <= size or tokenizer.truncation_side == "left":
        return text, 0
    while size < min(len(text), LONGEST) and _count(tokenizer, text[: border(text, 0, size)]) <= limit + MARGIN:
        size *= 2
    if size >= len(text):
        return text, 0
    end = border(text, 0, size)
    count = _count(tokenizer, text[:end])
    return text[:end], max(1, round(count * (len(text) - end) / end))


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])


def parts(text: str) -> Iterator[tuple[int, str]]:
    """A text as parts of at most LONG characters, each with its place, whose tokens are those of the text."""
    start = 0
    while len(text) - start > LONG:
        end = border(text, start, LONG)
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def border(text: str, start: int, size: int) -> int:
    """Where a text may be cut, at most `size` characters after `start`: before a single space or line end between two words.

    A text without one is cut where it must be: a token may end there that would have gone on.
    """
    end = start + size
    for first in (max(start + 1, end - NEAR), start + 1):
        last = deque(BETWEEN_WORDS.finditer(text, first, end), maxlen=1)
        if last:
            return last[0].start()
    return end
