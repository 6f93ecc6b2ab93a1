"""hftool/heads/word_tokens.py: ids by words are those of the tokenizer for whole texts, whatever the texts hold."""

import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, normalizers

import hftool
from hftool.heads import word_tokens
from hftool.heads.token_batches import encode_batch
from hftool.models.config_facts import read_model_config
from hftool.models.tokenizer import load_tokenizer

PLAIN = [
    "cat",
    "cats,",
    "it's",
    "U.S.",
    "[MASK]",
    "a[SEP]b",
    "<mask>",
    "</s>",
    "naïve",
    "İ",
    "Σ",
    "ß",
    "ﬁ",
    "好",
    "东京",
    "😀",
    "👍🏽",
    "é",
    "́",
    "-",
    "##a",
    "...",
    "x12",
    "12,5",
]
ODD = ["\t", "\n", "\xa0", "\u3000", "\u200d", "\x1c", "\x00", "\u2028", "", "", "x" * 120]


def texts(count, words):
    rng = random.Random(0)
    return [" ".join(rng.choices(words, k=rng.randint(0, 9))) + rng.choice(["", " ", "."]) for _ in range(count)]


@pytest.fixture(params=["bert", "roberta", "gpt2", "t5"])
def tokenizer(request):
    folder = Path(hftool.__file__).parent / "assets" / "models" / f"{request.param}-mini"
    return load_tokenizer(folder, read_model_config(folder))


def expected(tokenizer, texts):
    return [row.ids for row in tokenizer.backend_tokenizer.encode_batch(texts)]


def test_ids_are_those_of_whole_texts(tokenizer):
    rows = texts(1200, PLAIN) + texts(600, PLAIN + ODD)
    found, _ = encode_batch(tokenizer, rows)
    assert [list(ids) for ids in found] == expected(tokenizer, rows)
    assert (word_tokens.encode_words(tokenizer, rows) is None) == ("T5" in type(tokenizer).__name__)


def test_state_of_the_tokenizer_counts(tokenizer):
    rows = texts(1100, PLAIN)
    encode_batch(tokenizer, rows)
    tokenizer.split_special_tokens = True
    assert [list(ids) for ids in encode_batch(tokenizer, rows)[0]] == expected(tokenizer, rows)
    tokenizer.add_tokens(["it's U.S."])
    assert word_tokens.encode_words(tokenizer, rows) is None  # a token over two words


def test_others_are_tokenized_whole(tokenizer):
    rows = [f"{i}w{i * 7919}" for i in range(1100)]
    assert word_tokens.encode_words(tokenizer, rows) is None  # no word comes again
    assert word_tokens.encode_words(tokenizer, ["a"] * 100) is None
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("a b", "ab")
    assert word_tokens.encode_words(tokenizer, ["a b"] * 1100) is None


def test_a_token_that_takes_the_space_after_it(tokenizer):
    tokenizer.add_tokens([AddedToken("cat", rstrip=True)])
    rows = ["a cat sat"] * 1100
    assert [list(ids) for ids in encode_batch(tokenizer, rows)[0]] == expected(tokenizer, rows)
