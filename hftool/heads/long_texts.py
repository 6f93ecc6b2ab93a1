"""Tokenizing long texts in bounded memory: in groups, shortened to what a model can read, or in parts.

A tokenizer takes more than a hundred times the memory of a text.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

GROUP = 1 << 20  # characters that are tokenized at once
LONG = 1 << 17  # characters of a text that is tokenized whole
LONGEST = 1 << 21  # characters in which the first tokens of a text are looked for
MARGIN = 32  # tokens at the end of a part that its end may change
NEAR = 1 << 12  # characters at the end of a part where a border is looked for first
BETWEEN_WORDS = re.compile(r"(?<=\S)[ \n](?=\S)")


def groups(*texts: Sequence[str]) -> Iterator[slice]:
    """Group rows to be tokenized together.

    Yields:
        Consecutive rows of at most GROUP characters, or a single longer row.
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
    """The beginning of a text that decides its first `limit` tokens, 0 for no limit.

    Texts of `size` characters, by default LONG, are tried first.

    Returns:
        The text, or its beginning of more than `limit` tokens (or LONGEST characters), and about how many tokens the rest has.
        The whole text for a tokenizer that truncates on the left.
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
    """Parts of a text of at most LONG characters, with their offsets, whose tokens are those of the text."""
    start = 0
    while len(text) - start > LONG:
        end = border(text, start, LONG)
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def border(text: str, start: int, size: int) -> int:
    """The offset at which a text can be split, at most `size` characters after `start`: a single space between two words.

    Without one, a token may be split, too.
    """
    end = start + size
    for first in (max(start + 1, end - NEAR), start + 1):
        last = deque(BETWEEN_WORDS.finditer(text, first, end), maxlen=1)
        if last:
            return last[0].start()
    return end
