"""The fused decoder of a T5 against the model's own forward."""

import pytest
import torch
from test_generation_state import PROMPTS, assert_logits, batch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from hftool.engines.fused_generation import begin_fused
from hftool.engines.fused_t5 import T5State
from hftool.engines.kv_cache import TorchGenerationState
from hftool.engines.torch import TorchEngine
from hftool.errors import ConfigError, DataError

SIZES = {"vocab_size": 60, "d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "d_kv": 16, "decoder_start_token_id": 0}
BOUND = {"bf16": 0.03, "int8": 0.06}  # of the largest logit


def t5(seed=0, **more):
    torch.manual_seed(seed)
    return T5ForConditionalGeneration(T5Config(**SIZES | more)).eval()


@pytest.fixture(scope="module")
def model():
    return t5()


def started(model, prompts=PROMPTS, precision="fp32"):
    state = TorchEngine(model, precision=precision).begin(batch(False, prompts))
    assert isinstance(state, T5State)
    return state


def test_rows_continue_finish_fork_and_are_reordered(model):
    state = started(model)
    assert_logits(state.prefill(), model, [(0, []), (1, []), (2, [])])
    assert_logits(state.decode(torch.tensor([20, 21, 22])), model, [(0, [20]), (1, [21]), (2, [22])])
    logits = state.decode(torch.tensor([30, 31]), torch.tensor([2, 0]))
    assert_logits(logits, model, [(2, [22, 30]), (0, [20, 31])])
    logits = state.decode(torch.tensor([40, 41, 42]), torch.tensor([1, 1, 0]))
    assert_logits(logits, model, [(0, [20, 31, 40]), (0, [20, 31, 41]), (2, [22, 30, 42])])


def test_copies_of_a_prompt_are_reordered(model):
    state = started(model)
    assert_logits(state.prefill(2), model, [(0, []), (0, []), (1, []), (1, []), (2, []), (2, [])])
    state.decode(torch.tensor([20, 21, 22, 23, 24, 25]))
    logits = state.decode(torch.tensor([30, 31, 32, 33, 34, 35]), torch.tensor([1, 1, 3, 2, 4, 4]))
    texts = [(0, [21, 30]), (0, [21, 31]), (1, [23, 32]), (1, [22, 33]), (2, [24, 34]), (2, [24, 35])]
    assert_logits(logits, model, texts)
    logits = state.decode(torch.tensor([40, 41]), torch.tensor([5, 0]))
    assert_logits(logits, model, [(2, [24, 35, 40]), (0, [21, 30, 41])])


def test_the_cache_and_the_position_bias_grow(model):
    state, expected = started(model), TorchGenerationState(model, batch(False))
    torch.testing.assert_close(state.prefill(), expected.prefill(), atol=1e-5, rtol=1e-4)
    for token in range(150):  # distances over 128 share a bucket
        tokens = torch.full((3,), token % 60)
        torch.testing.assert_close(state.decode(tokens), expected.decode(tokens), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrow_formats_stay_within_their_bound(model, precision):
    exact, rounded = started(model), started(model, precision=precision)
    for expected, logits in [(exact.prefill(), rounded.prefill())] + [
        (exact.decode(tokens), rounded.decode(tokens)) for tokens in torch.arange(30).view(10, 3)
    ]:
        assert logits.dtype == torch.float32 and not torch.equal(logits, expected)
        assert (logits - expected).abs().max() < BOUND[precision] * expected.abs().max()


def test_weights_that_change_are_taken():
    model = t5(3)
    for precision in ("fp32", "bf16", "int8"):
        for layer in (model.decoder.block[1].layer[0].SelfAttention.v, model.decoder.block[0].layer[1].EncDecAttention.k):
            before = started(model, precision=precision).prefill()
            layer.weight.data.mul_(1.5)  # which leaves its version as it was
            assert not torch.equal(started(model, precision=precision).prefill(), before)
    assert_logits(started(model).prefill(), model, [(0, []), (1, []), (2, [])])


def test_mt5_is_fused():
    torch.manual_seed(0)
    model = MT5ForConditionalGeneration(MT5Config(**SIZES)).eval()
    assert_logits(started(model).prefill(), model, [(0, []), (1, []), (2, [])])


@pytest.mark.parametrize("more", [{"feed_forward_proj": "gated-gelu"}, {"tie_word_embeddings": False}, {"d_kv": 8}])
def test_variants_of_t5_are_fused(more):
    model = t5(7, **more)
    for precision, tolerance in {"fp32": 1e-4, **BOUND}.items():
        state, expected = started(model, precision=precision), TorchGenerationState(model, batch(False))
        assert state.max_remaining is None
        for one, other in [
            (state.prefill(), expected.prefill()),
            (state.decode(torch.arange(3)), expected.decode(torch.arange(3))),
        ]:
            assert (one - other).abs().max() < tolerance * other.abs().max()


def changed(model, kind):
    if kind == "hook":
        model.decoder.block[0].layer[2].register_forward_hook(lambda module, given, output: None)  # an observer
    if kind == "adapter":
        model.decoder.block[0].layer[0].SelfAttention.q = torch.nn.Sequential(model.decoder.block[0].layer[0].SelfAttention.q)
    if kind == "bias":
        model.lm_head = torch.nn.Linear(32, 60)
    if kind == "activation":
        return t5(feed_forward_proj="silu")
    return model


@pytest.mark.parametrize("kind", ["hook", "adapter", "bias", "activation"])
def test_other_models_are_left_to_transformers(kind):
    model = changed(t5(), kind)
    assert begin_fused(model, batch(False), "fp32") is None
    assert isinstance(TorchEngine(model).begin(batch(False)), TorchGenerationState)
    with pytest.raises(ConfigError, match="this t5 cannot generate in int8 here"):
        TorchEngine(model, precision="int8").begin(batch(False))


def test_unusable_prompts_are_errors(model):
    with pytest.raises(DataError, match="a prompt has no tokens"):
        begin_fused(model, {"input_ids": torch.tensor([[5], [0]]), "attention_mask": torch.tensor([[1], [0]])}, "fp32")
