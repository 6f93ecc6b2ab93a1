import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GPT2Config, MambaConfig, T5Config, XLMRobertaConfig

from hftool.engines.cache_argument import cache_name, cache_of

IDS = torch.tensor([[5, 6, 7]])
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1),
    "roberta": XLMRobertaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, is_decoder=True
    ),
    "t5": T5Config(vocab_size=20, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8, decoder_start_token_id=0),
    "mamba": MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, state_size=4),
}


def output_of(name, **inputs):
    config = CONFIGS[name]
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.no_grad():
        return auto.from_config(config).eval()(input_ids=IDS, use_cache=True, **inputs)


@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_decoder_accepts_the_cache_it_returns(name, caplog):
    cache = cache_of(output_of(name))
    assert cache.get_seq_length() == 3
    assert cache_of(output_of(name, **{cache_name(): cache})).get_seq_length() == 6
    assert "deprecated" not in caplog.text


def test_encoder_decoder_has_two_caches():
    cache = cache_of(output_of("t5", decoder_input_ids=IDS[:, :2]))
    assert cache.self_attention_cache.get_seq_length() == 2
    assert cache.cross_attention_cache.get_seq_length() == 3


def test_recurrent_state_is_not_a_cache():
    assert cache_of(output_of("mamba")) is None


def test_models_that_return_no_cache_have_none():
    with torch.no_grad():
        assert cache_of(AutoModelForCausalLM.from_config(CONFIGS["gpt2"])(input_ids=IDS, use_cache=False)) is None
