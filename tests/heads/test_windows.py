import random
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from hftool.errors import ConfigError
from hftool.heads.windows import Window, sliding_windows, special_token_template, token_offsets

TEXTS = [
    "a warm funny film, isn't it",
    "the cast is a joy to watch",
    "你好 世界 e\u0301 😀 שלום",
    *"abcdefghijklmnopqrstuvwxyz",
]


@pytest.fixture(scope="module", params=["BertTokenizer", "RobertaTokenizer", "GPT2Tokenizer", "T5Tokenizer"])
def tokenizer(request):
    import transformers

    return getattr(transformers, request.param)().train_new_from_iterator(TEXTS, 320)


def test_windows_overlap_and_each_position_is_in_one_core():
    rng = random.Random(0)
    for _ in range(500):
        length, size = rng.randrange(0, 300), rng.randrange(1, 60)
        overlap = rng.randrange(0, size)
        windows = sliding_windows(length, size, overlap)
        cores = [i for w in windows for i in range(w.core_start, w.core_end)]
        assert cores == list(range(length))
        assert all(w.start <= w.core_start <= w.core_end <= w.end and w.end - w.start == min(size, length) for w in windows)
        for earlier, later in pairwise(windows):
            assert earlier.end - later.start >= overlap and later.start > earlier.start
            border = later.core_start  # in the middle of their overlap
            assert abs((border - later.start) - (earlier.end - border)) <= 1
        assert windows[0].start == 0 and windows[-1].end == length


def test_spans_up_to_the_overlap_are_contained_in_one_window():
    windows = sliding_windows(100, 16, 5)
    assert all(any(w.start <= i and i + 5 <= w.end for w in windows) for i in range(96))


def test_short_text_is_one_window():
    assert sliding_windows(16, 16, 4) == [Window(0, 16, 0, 16)] and sliding_windows(0, 16, 4) == [Window(0, 0, 0, 0)]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, -1)])
def test_windows_without_stride_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f"no windows of {size} positions"):
        sliding_windows(100, size, overlap)


def test_special_token_template_equals_the_tokenizer_output(tokenizer):
    a, b = token_offsets(tokenizer, ["a warm film", "joy 你好"])
    assert special_token_template(tokenizer).around(a.ids)[0].tolist() == tokenizer("a warm film")["input_ids"]
    ids, token_type_ids = special_token_template(tokenizer, 2).around(a.ids, b.ids)
    whole = tokenizer("a warm film", "joy 你好")
    assert ids.tolist() == whole["input_ids"] and ids.dtype == np.int32
    assert (None if token_type_ids is None else token_type_ids.tolist()) == whole.get("token_type_ids")
    assert special_token_template(tokenizer, 2).length == tokenizer.num_special_tokens_to_add(pair=True)


def test_tokenizer_without_offsets_is_refused():
    slow = SimpleNamespace(is_fast=False)
    for call in (lambda: special_token_template(slow), lambda: token_offsets(slow, ["a"])):
        with pytest.raises(ConfigError, match="no character offsets"):
            call()
