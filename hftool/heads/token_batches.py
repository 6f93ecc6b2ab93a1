"""Batches of texts to token ids by the tokenizers library itself: transformers copies each encoding into lists again."""

from collections.abc import Sequence
from typing import Any

from hftool.heads.word_tokens import encode_words
from hftool.models.tokenizer import clear_lengths


def encode_batch(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> tuple[Sequence[Any], list[list[int]] | None]:
    """Tokenize texts, or pairs of texts, on all cores, with special tokens and without truncation.

    Args:
        tokenizer: A tokenizer of transformers.
        texts: Texts that together fit in memory, see `long_texts.groups`.
        pairs: The second text of each.

    Returns:
        The ids of each row, a list or a read-only array int32, and its token types if it is a pair and the model has them.
    """
    from transformers import TokenizersBackend

    own = (getattr(type(tokenizer), name) for name in ("__call__", "_encode_plus"))
    if (*own,) != (TokenizersBackend.__call__, TokenizersBackend._encode_plus):  # a class with a way of its own
        given = list(texts), None if pairs is None else list(pairs)
        encoded = tokenizer(*given, return_attention_mask=False, verbose=False)
        return encoded["input_ids"], encoded.get("token_type_ids") if pairs is not None else None
    clear_lengths(tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = tokenizer.split_special_tokens
    known = encode_words(tokenizer, texts) if pairs is None else None
    if known is not None:
        return known, None
    rows = backend.encode_batch_fast(list(texts) if pairs is None else list(zip(texts, pairs, strict=True)))
    typed = pairs is not None and "token_type_ids" in tokenizer.model_input_names
    return [row.ids for row in rows], [row.type_ids for row in rows] if typed else None
