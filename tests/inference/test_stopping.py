"""hftool/inference/stopping.py: each step decodes the last tokens alone, and ends a text where decoding all of it would."""

import functools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

import hftool
from hftool.inference.stopping import StoppingCriteria

MODELS = Path(hftool.__file__).parent / "assets" / "models"
STARTS = ("a film of the good day, \u65e5\u672c ", "n't \U0001f600\U0001f600 do  .", "naïve\u0301 !")


@functools.cache
def load(name):
    from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

    if name == "byt5":  # slow tokenizer: it drops invalid bytes
        return ByT5Tokenizer()
    if name == "byte fallback":  # as Llama's
        pieces = ["<unk>", "<s>", "\u2581", "\u2581a", "b", *(f"<0x{byte:02X}>" for byte in range(256))]
        backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], byte_fallback=True))
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(steps)
        return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    tokenizer = AutoTokenizer.from_pretrained(MODELS / f"{name}-mini")
    tokenizer.clean_up_tokenization_spaces = name == "bert"  # decoding drops the space before punctuation
    return tokenizer


class Whole(StoppingCriteria):
    """Decodes all tokens at each step."""

    def _ending(self, ids):
        return 0, self._decode(ids)


class Counting:
    """A tokenizer that notes how many tokens it decodes."""

    def __init__(self, tokenizer):
        self.tokenizer, self.sizes = tokenizer, []

    def decode(self, ids):
        self.sizes.append(len(ids))
        return self.tokenizer.decode(ids)


def steps(criteria, ids):
    """What is settled after each token, until the text ends, and its length."""
    settled = []
    for n in range(1, len(ids) + 1):
        length = criteria.length_at_end(ids[:n])
        if length is not None:
            return settled, length, criteria.result(ids[:n], [0.0] * n, length)
        settled.append(criteria.settled(ids[:n]))
    return settled, None, None


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "byt5", "byte fallback"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_texts_end_where_decoding_all_of_them_would_end_them(name, data):
    tokenizer = load(name)
    token = st.one_of(st.integers(0, len(tokenizer) - 1), st.integers(0, 260), st.sampled_from(tokenizer.all_special_ids))
    known = [ids for text in STARTS for ids in tokenizer(text, add_special_tokens=False)["input_ids"]]
    pool = data.draw(st.lists(st.one_of(token, st.sampled_from(known)), min_size=1, max_size=12))
    ids = data.draw(st.lists(st.sampled_from(pool), min_size=20, max_size=90))
    text = tokenizer.decode(ids)
    start = data.draw(st.integers(0, max(0, len(text) - 1)))
    stop = text[start : start + data.draw(st.integers(1, 4))] or "x"
    settled, *expected = steps(Whole(frozenset(), (stop, "never"), tokenizer), ids)
    found, *ending = steps(StoppingCriteria(frozenset(), (stop, "never"), tokenizer), ids)
    assert ending == expected
    if name != "byte fallback" or "\ufffd" not in text:  # there an invalid byte changes the text of any number of others
        assert found == settled


# with byte fallback a character that is incomplete makes all bytes before it invalid, so that they are decoded again
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "byt5"])
def test_a_step_decodes_the_last_tokens_alone(name):
    tokenizer = Counting(load(name))
    ids = [token for text in STARTS for token in tokenizer.tokenizer(text, add_special_tokens=False)["input_ids"]] * 40
    criteria = StoppingCriteria(frozenset(), ("\n\nQ", " film b"), tokenizer)
    for n in range(300, 340):
        assert criteria.length_at_end(ids[:n]) is None
        criteria.settled(ids[:n])
    assert max(tokenizer.sizes) < 160
