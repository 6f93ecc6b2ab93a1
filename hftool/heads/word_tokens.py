"""Token ids of many texts from those of their words, where a tokenizer splits at every space: a word is tokenized once.

A million texts have few words. With it, a file becomes features at 0.9 to 1.2 times the rate at which the tokenizers library
alone encodes its texts: benchmarks/data_rate.py.
"""

import json
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from hftool.heads.windows import special_token_template

LEAST_TEXTS = 1024  # fewer are tokenized whole: most of their words are new
MOST_NEW = 0.5  # share of the characters that may be in new words: text without spaces does not repeat its words
LIMIT = 1 << 21  # characters of all known words
IDS = np.dtype(np.int32)

_caches: "weakref.WeakKeyDictionary[Any, _WordTokens]" = weakref.WeakKeyDictionary()


def encode_words(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray] | None:
    """Tokenize texts by their words, with special tokens and without truncation.

    Args:
        tokenizer: A tokenizer of transformers without a call of its own, whose backend neither pads nor truncates.
        texts: Texts that together fit in memory.

    Returns:
        The ids (T,) int32 of each text, read-only; None where the tokenizer does not split at every space, or where that would
        not be faster.
    """
    if len(texts) < LEAST_TEXTS:
        return None
    backend, cache = tokenizer.backend_tokenizer, _caches.get(tokenizer)
    state = _state(backend)
    if cache is None or cache.state != state:
        cache = _caches[tokenizer] = _WordTokens(state, _splits_at_spaces(backend), _takes_space(backend))
    return cache.encode(tokenizer, texts) if cache.is_usable else None


@dataclass
class _WordTokens:
    """The token ids of words, as bytes of int32, for one state of a tokenizer.

    Attributes:
        state: What the ids depend on and code may change.
        is_usable: Whether the ids of a text are those of its words.
        takes_space: Whether the space before a word is part of its tokens, as in byte-level BPE.
        first: Ids of words at the beginning of a text.
        others: Ids of words after a space.
        size: Characters of the words.
    """

    state: tuple[Any, ...]
    is_usable: bool
    takes_space: bool
    first: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def encode(self, tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray] | None:
        """The ids of each text; None where most of the characters are in new words, or of texts that spaces do not split."""
        backend = tokenizer.backend_tokenizer
        split = [text.split(" ") for text in texts if not self.takes_space or _is_plain(text)]
        if 2 * len(split) < len(texts) or not self._learn(backend, split, MOST_NEW * sum(map(len, texts))):
            return None
        before, after = (np.array(run, IDS).tobytes() for run in special_token_template(tokenizer).runs)
        first, of = self.first, self.others.__getitem__
        if self.takes_space:
            found = [before + first[words[0]] + b"".join(map(of, words[1:])) + after for words in split]
        else:
            found = [before + b"".join(map(of, words)) + after for words in split]
        ids = [np.frombuffer(one, IDS) for one in found]
        return ids if len(split) == len(texts) else _merged(backend, texts, ids)

    def _learn(self, backend: Any, split: Sequence[Sequence[str]], most: float) -> bool:
        """Tokenize new words, unless they have more than `most` characters -> whether all are known."""
        words = set(chain.from_iterable(split))
        if self.size > LIMIT:
            self.first, self.others, self.size = {}, {}, 0
        new = list(words.difference(self.others))
        size = sum(map(len, new))
        if size > most:
            return False
        self.size += size
        self.others.update(_ids_of(backend, new, " " if self.takes_space else ""))
        if self.takes_space:
            self.first.update(_ids_of(backend, list({words[0] for words in split}.difference(self.first)), ""))
        return True


def _ids_of(backend: Any, words: list[str], before: str) -> Iterable[tuple[str, bytes]]:
    """Each word with the bytes of its ids; an empty one at the beginning of a text has none."""
    encoded = backend.encode_batch_fast([before + word for word in words], add_special_tokens=False)
    ids = (np.array(one.ids, IDS).tobytes() if before or word else b"" for word, one in zip(words, encoded, strict=True))
    return zip(words, ids, strict=True)


def _merged(backend: Any, texts: Sequence[str], ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The ids of all texts, from those of the plain ones."""
    known = iter(ids)
    others = iter(backend.encode_batch_fast([text for text in texts if not _is_plain(text)]))
    return [next(known) if _is_plain(text) else np.array(next(others).ids, IDS) for text in texts]


def _is_plain(text: str) -> bool:
    """Whether all white space of a text is single spaces: no token of byte-level BPE is then part of two words."""
    return "  " not in text and text.isprintable()


def _state(backend: Any) -> tuple[Any, ...]:
    parts = (backend.normalizer, backend.pre_tokenizer)
    return (*(part and part.__getstate__() for part in parts), backend.get_vocab_size(), backend.encode_special_tokens)


def _takes_space(backend: Any) -> bool:
    return _kind(backend.pre_tokenizer).get("type") == "ByteLevel"


def _kind(part: Any) -> dict[str, Any]:
    """The settings of a normalizer or a pre-tokenizer."""
    kind: dict[str, Any] = json.loads(part.__getstate__()) if part is not None else {}
    return kind


def _splits_at_spaces(backend: Any) -> bool:
    """Whether the ids of a text are those of its words one after the other: known for BERT's parts and for byte-level ones."""
    normalizer, splitter = _kind(backend.normalizer), _kind(backend.pre_tokenizer)
    if getattr(backend.model, "dropout", None):  # random merges
        return False
    by_bytes = splitter.get("type") == "ByteLevel" and splitter.get("use_regex") and not normalizer
    by_bert = splitter.get("type") == "BertPreTokenizer" and normalizer.get("type") in (None, "BertNormalizer")
    added = backend.get_added_tokens_decoder().values()
    shown = [(token.content, backend.normalizer.normalize_str(token.content) if normalizer else "") for token in added]
    spaced = any(any(map(str.isspace, "".join(forms))) for forms in shown)  # a token may then reach over several words
    return bool(by_bert or by_bytes) and not spaced and not (by_bytes and any(token.rstrip for token in added))
