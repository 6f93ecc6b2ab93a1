"""hftool/inference/streaming.py: incremental decoding gives the same text chunks as decoding all tokens at each step."""

import functools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

import hftool
from hftool.inference.streaming import WINDOW, TextStreamer

MODELS = Path(hftool.__file__).parent / "assets" / "models"
TEXTS = "A film. Isn't it funny , they asked ? do not !  Two  spaces\n\tand a tab; naïve café, \u201cquotes\u201d, \u65e5\u672c\u8a9e, \U0001f600\U0001f468\u200d\U0001f469."


@functools.cache
def load(name):
    from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

    if name == "byt5":  # slow tokenizer: it drops invalid bytes
        return ByT5Tokenizer()
    if name == "byte fallback":  # as Llama's
        pieces = ["<unk>", "<s>", "\u2581", "\u2581a", "b", *(f"<0x{byte:02X}>" for byte in range(256))]
        vocab = {piece: number for number, piece in enumerate(pieces)}
        backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(steps)
        return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    return AutoTokenizer.from_pretrained(MODELS / f"{name}-mini")


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def streamed(tokenizer, ids):
    """The text chunks, and the largest number of tokens decoded at once."""
    pieces, sizes = [], []

    class Counting:
        def decode(self, ids, **more):
            sizes.append(len(ids))
            return tokenizer.decode(ids, **more)

    streamer = TextStreamer(Counting(), pieces.append)
    for token in ids:
        streamer.take(token)
    streamer.end(decode(tokenizer, ids))
    assert streamer.shown == sum(map(len, pieces))
    return pieces, max(sizes, default=0)


def streamed_by_full_decoding(tokenizer, ids):
    """The text chunks when all tokens are decoded at each step."""
    pieces, shown = [], 0
    for n in range(1, len(ids) + 1):
        text = decode(tokenizer, ids[:n])
        if len(text) > shown and (n == len(ids) or not text.endswith("\ufffd")):
            pieces.append(text[shown:])
            shown = len(text)
    return pieces


TOKENIZERS = ["bert", "gpt2", "roberta", "t5", "byt5"]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_chunks_equal_those_of_full_decoding(name, data):
    tokenizer = load(name)
    special = st.sampled_from(tokenizer.all_special_ids)
    token = st.one_of(st.integers(0, len(tokenizer) - 1), st.integers(0, 260), special)
    pool = data.draw(st.lists(token, min_size=1, max_size=12))
    ids = data.draw(st.lists(st.sampled_from(pool), max_size=6 * WINDOW))
    pieces, _ = streamed(tokenizer, ids)
    assert "".join(pieces) == decode(tokenizer, ids)
    if pieces and "\ufffd" not in pieces[-1]:
        assert pieces == streamed_by_full_decoding(tokenizer, ids)


@pytest.mark.parametrize("name", [*TOKENIZERS, "byte fallback"])
@settings(max_examples=50, deadline=None)
@given(text=st.text(st.sampled_from(TEXTS), max_size=100))
def test_encoded_texts_are_streamed_completely(name, text):
    tokenizer = load(name)
    ids = tokenizer(text, add_special_tokens=True)["input_ids"]
    pieces, size = streamed(tokenizer, ids)
    assert "".join(pieces) == decode(tokenizer, ids)
    assert size <= 4 * WINDOW


def test_invalid_bytes_do_not_block_the_stream():
    tokenizer = load("byte fallback")
    ids = [3, 5 + 0xC3, 5 + 0xA9, 5 + 0xC3, 4, 4]  # the third byte is invalid, which makes the whole sequence invalid
    assert decode(tokenizer, ids) == "a\ufffd\ufffd\ufffdbb"
    assert streamed(tokenizer, ids)[0] == streamed_by_full_decoding(tokenizer, ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_long_text_is_decoded_in_windows(name):
    tokenizer = load(name)
    ids = (tokenizer(TEXTS, add_special_tokens=False)["input_ids"] * 40)[:2048]
    pieces, size = streamed(tokenizer, ids)
    assert "".join(pieces) == decode(tokenizer, ids) and size <= 3 * WINDOW


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_special_tokens_do_not_remove_the_space_of_the_next_word(name):
    tokenizer = load(name)
    word = tokenizer("a film", add_special_tokens=False)["input_ids"]
    ids = [*word, *[tokenizer.all_special_ids[0]] * 3 * WINDOW, *word]
    assert streamed(tokenizer, ids)[0] == streamed_by_full_decoding(tokenizer, ids)
    assert decode(tokenizer, ids) == "a film a film"
