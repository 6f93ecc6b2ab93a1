"""hftool/heads/long_texts.py: a long text is tokenized in bounded memory with exactly the same tokens."""

import random
import subprocess
import sys

import numpy as np
import pytest

from hftool.heads import get_head, long_texts
from hftool.heads.long_texts import border, groups, parts
from hftool.heads.packing import token_ids
from hftool.heads.windows import token_offsets
from hftool.models import HeadConfig
from support.memory import PEAK

WORDS = [
    "a warm",
    "film,",
    "isn't",
    "it",
    "the cast",
    "joy  to",
    "watch",
    "\n",
    "\t",
    "\n\n",
    "你好",
    "世界。",
    "e\u0301",
    "😀",
    "42",
    "x_y",
]


def long_text(seed=0, words=600):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="module", params=["BertTokenizer", "RobertaTokenizer", "GPT2Tokenizer", "T5Tokenizer"])
def tokenizer(request):
    import transformers

    return getattr(transformers, request.param)().train_new_from_iterator([*WORDS, *"abcdefghijklmnopqrstuvwxyz"], 320)


@pytest.fixture
def small(monkeypatch):
    """Lowers the limit of a long text to 500 characters."""
    monkeypatch.setattr(long_texts, "LONG", 500)
    monkeypatch.setattr(long_texts, "GROUP", 2000)
    monkeypatch.setattr(long_texts, "NEAR", 50)


def test_rows_are_tokenized_once_in_order(monkeypatch):
    monkeypatch.setattr(long_texts, "GROUP", 10)
    for lengths in ([3, 3, 3, 3], [20, 1, 20], [0, 0, 0], [10, 10], [1], []):
        texts = ["x" * n for n in lengths]
        found = [texts[rows] for rows in groups(texts)]
        assert [text for batch in found for text in batch] == texts
        assert all(len(batch) == 1 or sum(map(len, batch)) <= 10 for batch in found)
    assert list(groups(["xxx"] * 3, ["yyy"] * 3)) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_parts_join_to_the_text_and_end_at_word_boundaries(small):
    for seed in range(5):
        text = long_text(seed)
        found = list(parts(text))
        assert "".join(part for _, part in found) == text and len(found) > 4
        assert all(text[offset:].startswith(part) and len(part) <= 500 for offset, part in found)
        assert all(
            text[offset] in " \n" and not text[offset - 1].isspace() and not text[offset + 1].isspace()
            for offset, _ in found[1:]
        )
    assert [part for _, part in parts("")] == [""]


@pytest.mark.parametrize("text", ["x" * 2000, " " * 2000, "\n " * 1000, "。" * 2000])
def test_text_without_word_boundaries_is_split_at_the_limit(small, text):
    assert [len(part) for _, part in parts(text)] == [500] * 4 and border(text, 100, 50) == 150


def test_tokens_and_offsets_of_parts_equal_those_of_the_whole_text(tokenizer, monkeypatch):
    texts = [long_text(0), "short", "", long_text(1)]
    whole, ids = token_offsets(tokenizer, texts), list(token_ids(tokenizer, texts))
    monkeypatch.setattr(long_texts, "LONG", 500)
    monkeypatch.setattr(long_texts, "GROUP", 2000)
    for one, other in zip(whole, token_offsets(tokenizer, texts), strict=True):
        for name in ("ids", "starts", "ends"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    assert all(map(np.array_equal, ids, token_ids(tokenizer, texts)))


ROWS = {
    "classify": [{"text": "short"}, {"text": long_text(0)}, {"text": long_text(1)}],
    "embed": [{"text": "short"}, {"text": long_text(0)}],
    "text2text": [{"source": "short", "target": long_text(2)}, {"source": long_text(0), "target": "it"}],
}
PAIRS = [{"text": long_text(0), "text_pair": "short"}, {"text": "short", "text_pair": long_text(1)}]
PAIRS += [{"text": long_text(2), "text_pair": long_text(3)}]


@pytest.mark.parametrize("name", [*ROWS, "pairs"])
@pytest.mark.parametrize("limit", [8, 64])
def test_features_of_a_long_text_are_unchanged(tokenizer, monkeypatch, name, limit):
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if name == "text2text" and not tokenizer.num_special_tokens_to_add():
        pytest.skip("a decoder's tokenizer puts no end token after a source")
    head_config = HeadConfig(
        head="classify" if name == "pairs" else name, max_length=limit, max_new_tokens=limit, labels=("a", "b")
    )
    rows = PAIRS if name == "pairs" else ROWS[name]
    whole = get_head(tokenizer, head_config, None).encode(rows)
    monkeypatch.setattr(long_texts, "LONG", 500)
    monkeypatch.setattr(long_texts, "GROUP", 5000)
    short = get_head(tokenizer, head_config, None).encode(rows)
    for one, other in zip(whole, short, strict=True):
        assert np.array_equal(one.input_ids, other.input_ids) and one.row == other.row
        assert (
            np.array_equal(one.token_type_ids, other.token_type_ids)
            if one.token_type_ids is not None
            else other.token_type_ids is None
        )
        assert np.array_equal(one.target, other.target) if one.target is not None else other.target is None
        assert (
            bool(one.truncated) == bool(other.truncated) and abs(one.truncated - other.truncated) <= 0.2 * one.truncated
        )  # approximate number


def test_text_with_leading_white_space(tiny_bert, small):
    from transformers import AutoTokenizer

    head = get_head(
        AutoTokenizer.from_pretrained(tiny_bert), HeadConfig(head="classify", max_length=8, labels=("a", "b")), None
    )
    (feature,) = head.encode([{"text": " " * 5000 + "a warm film " * 500}])
    (bare,) = head.encode([{"text": "a warm film " * 30}])
    assert feature.input_ids.tolist() == bare.input_ids.tolist() and feature.truncated > 1000


MEASURE = (
    PEAK
    + """
import sys
from transformers import AutoTokenizer
from hftool.heads import get_head
from hftool.models import HeadConfig
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
head = get_head(tokenizer, HeadConfig(head=sys.argv[2], max_length=32, labels=("O", "B-PER")), None)
row = lambda text: {"context": text, "question": "who"} if sys.argv[2] == "answer" else {"text": text}
head.encode([row("short")])
first = peak()
features = head.encode([row("a warm funny film " * (int(sys.argv[3]) * 1000000 // 18))])
print(peak() - first, features[0].truncated)
"""
)


@pytest.mark.parametrize(
    ("head", "megabytes", "most"),
    [
        ("classify", 4, 80),
        *[pytest.param(head, 50, most, marks=pytest.mark.slow) for head, most in (("classify", 400), ("embed", 400))],
    ],
)
def test_long_cell_is_encoded_in_bounded_memory(tiny_bert, head, megabytes, most):
    """Tokenizing 4 MB at once took about 1000 MB."""
    command = [sys.executable, "-c", MEASURE, str(tiny_bert), head, str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, truncated = map(int, done.stdout.split())
    assert grown < most << 10 and truncated > 100_000 * megabytes
