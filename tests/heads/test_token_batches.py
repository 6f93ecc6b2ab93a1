"""Token ids by the tokenizers library itself equal those of transformers' call, whatever the call before left behind."""

from pathlib import Path

import pytest
from transformers import TokenizersBackend

import hftool
from hftool.heads.token_batches import encode_batch
from hftool.models.config_facts import read_model_config
from hftool.models.tokenizer import load_tokenizer

TEXTS = ["eve went to lima .", "", "a [SEP] b </s> ünïcödé 好 👍🏽", "tom " * 40]
PAIRS = ["a cat", "rome [MASK]", "", "x"]


@pytest.fixture(params=["bert", "roberta", "gpt2", "t5"])
def tokenizer(request):
    folder = Path(hftool.__file__).parent / "assets" / "models" / f"{request.param}-mini"
    return load_tokenizer(folder, read_model_config(folder))


@pytest.mark.parametrize("pairs", [None, PAIRS])
@pytest.mark.parametrize("splits", [False, True])
def test_ids_and_types_are_those_of_the_call(tokenizer, pairs, splits):
    tokenizer.split_special_tokens = splits
    expected = tokenizer(TEXTS, pairs)
    tokenizer(TEXTS[:1], truncation=True, max_length=4, padding="max_length")  # is left in the backend
    tokenizer.backend_tokenizer.encode_special_tokens = not splits
    ids, types = encode_batch(tokenizer, TEXTS, pairs)
    assert ids == expected["input_ids"]
    assert types == (expected.get("token_type_ids") if pairs else None)


def test_a_class_with_a_call_of_its_own_is_called(tokenizer):
    class Own(type(tokenizer)):
        def _encode_plus(self, text, text_pair=None, **more):
            return {"input_ids": [[7] for _ in text]}

    assert issubclass(Own, TokenizersBackend)
    tokenizer.__class__ = Own
    assert encode_batch(tokenizer, TEXTS) == ([[7]] * len(TEXTS), None)
