import time

import numpy as np
import pytest

from hftool.heads.packing import pack, token_ids


def rows(*lengths):
    """Rows of these lengths; the ids count up across rows."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end, dtype=np.int32) for end, length in zip(ends, lengths, strict=True)]


@pytest.mark.parametrize(
    ("lengths", "size", "expected"),
    [
        ((3, 4, 5), 4, [4, 4, 4]),
        ((3, 4, 5), 5, [5, 5, 2]),
        ((11,), 5, [5, 5]),  # a block of one token has nothing to predict
        ((0, 7, 0), 100, [7]),
        ((1,), 4, []),
        ((0,), 4, []),
        ((), 4, []),
    ],
)
def test_rows_are_concatenated_and_split_into_blocks(lengths, size, expected):
    blocks = pack(iter(rows(*lengths)), size)
    assert [len(block) for block in blocks] == expected
    assert np.concatenate([[], *blocks]).tolist() == list(range(sum(expected)))
    assert all(block.dtype == np.int32 for block in blocks)


def test_minimum_block_length_is_a_parameter():
    assert [len(block) for block in pack(rows(6), 5, least=1)] == [5, 1]


def test_packing_a_million_tokens_is_fast():
    long = rows(*[10] * 100_000)
    began = time.perf_counter()
    blocks = pack(long, 128)
    assert time.perf_counter() - began < 2  # a quadratic algorithm would take minutes
    assert sum(len(block) for block in blocks) == 1_000_000


def test_texts_are_tokenized_in_order(tiny_bert):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    texts = ["a warm film"] * 2500 + ["a cold film"]
    ids = list(token_ids(tokenizer, texts))
    assert len(ids) == 2501 and [tokenizer.decode(i) for i in ids[-2:]] == texts[-2:]
    assert next(token_ids(tokenizer, ["", "joy"])).tolist() == []
