import time

import numpy as np
import pytest

from hftool.heads.packing import pack, token_ids


def rows(*lengths):
    """Rows of these lengths, their numbers counted on from row to row."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end, dtype=np.int32) for end, length in zip(ends, lengths, strict=True)]


@pytest.mark.parametrize(
    ("lengths", "size", "expected"),
    [
        ((3, 4, 5), 4, [4, 4, 4]),
        ((3, 4, 5), 5, [5, 5, 2]),
        ((11,), 5, [5, 5]),  # one token is no block: nothing would be left to predict
        ((0, 7, 0), 100, [7]),
        ((1,), 4, []),
        ((0,), 4, []),
        ((), 4, []),
    ],
)
def test_rows_run_on_and_are_cut_where_a_block_is_full(lengths, size, expected):
    blocks = pack(iter(rows(*lengths)), size)
    assert [len(block) for block in blocks] == expected
    assert np.concatenate([[], *blocks]).tolist() == list(range(sum(expected)))
    assert all(block.dtype == np.int32 for block in blocks)


def test_what_is_too_short_is_for_the_caller_to_say():
    assert [len(block) for block in pack(rows(6), 5, least=1)] == [5, 1]


def test_a_million_tokens_take_no_time():
    long = rows(*[10] * 100_000)
    began = time.perf_counter()
    blocks = pack(long, 128)
    assert time.perf_counter() - began < 2  # quadratic would be minutes
    assert sum(len(block) for block in blocks) == 1_000_000


def test_texts_are_tokenized_in_order_whatever_their_number(tiny_bert):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    texts = ["a warm film"] * 2500 + ["a cold film"]
    ids = list(token_ids(tokenizer, texts))
    assert len(ids) == 2501 and [tokenizer.decode(i) for i in ids[-2:]] == texts[-2:]
    assert next(token_ids(tokenizer, ["", "joy"])).tolist() == []
