import pytest
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from hftool.engines.kv_cache import TorchGenerationState, end_ids
from hftool.engines.torch import TorchEngine
from hftool.errors import ConfigError, DataError

V = 60


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=1)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(0)
    config = T5Config(vocab_size=V, d_model=32, d_ff=64, num_layers=2, num_heads=2, d_kv=16, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]


def batch(left, prompts=PROMPTS):
    width = max(map(len, prompts))
    rows = [[0] * (width - len(p)) + p if left else p + [0] * (width - len(p)) for p in prompts]
    masks = [[0] * (width - len(p)) + [1] * len(p) if left else [1] * len(p) + [0] * (width - len(p)) for p in prompts]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def reference_logits(model, prompt, tokens):
    """The logits after prompt and tokens, computed in one pass, without a cache and without padding."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            return model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *tokens]])).logits[0, -1]
        return model(torch.tensor([[*prompt, *tokens]])).logits[0, -1]


@pytest.fixture(params=["gpt2", "t5"])
def model(request):
    return request.getfixturevalue(request.param)


def assert_logits(logits, model, texts):
    """Assert that the rows of `logits` are those of these texts, each (index of the prompt, tokens)."""
    expected = torch.stack([reference_logits(model, PROMPTS[prompt], tokens) for prompt, tokens in texts])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert logits.dtype == torch.float32


def test_rows_continue_finish_and_fork(model):
    steps = TorchGenerationState(model, batch(not model.config.is_encoder_decoder))
    assert_logits(steps.prefill(), model, [(0, []), (1, []), (2, [])])
    assert_logits(steps.decode(torch.tensor([20, 21, 22])), model, [(0, [20]), (1, [21]), (2, [22])])
    logits = steps.decode(torch.tensor([30, 31]), torch.tensor([2, 0]))
    assert_logits(logits, model, [(2, [22, 30]), (0, [20, 31])])
    logits = steps.decode(torch.tensor([40, 41, 42]), torch.tensor([1, 1, 0]))
    assert_logits(logits, model, [(0, [20, 31, 40]), (0, [20, 31, 41]), (2, [22, 30, 42])])


def test_copies_of_a_prompt_are_reordered(model):
    steps = TorchGenerationState(model, batch(not model.config.is_encoder_decoder))
    assert_logits(steps.prefill(2), model, [(0, []), (0, []), (1, []), (1, []), (2, []), (2, [])])
    steps.decode(torch.tensor([20, 21, 22, 23, 24, 25]))
    # reordered within each prompt
    logits = steps.decode(torch.tensor([30, 31, 32, 33, 34, 35]), torch.tensor([1, 1, 3, 2, 4, 4]))
    assert_logits(
        logits,
        model,
        [(0, [21, 30]), (0, [21, 31]), (1, [23, 32]), (1, [22, 33]), (2, [24, 34]), (2, [24, 35])],
    )
    # reordered while one prompt leaves the batch
    logits = steps.decode(torch.tensor([40, 41, 42, 43]), torch.tensor([1, 0, 5, 5]))
    assert_logits(logits, model, [(0, [21, 31, 40]), (0, [21, 30, 41]), (2, [24, 35, 42]), (2, [24, 35, 43])])


def test_prompts_are_prefilled_once_for_all_copies(model):
    forward_calls = []
    inner = model.get_encoder() if model.config.is_encoder_decoder else model.transformer
    hook = inner.register_forward_pre_hook(lambda _, __, given: forward_calls.append(given), with_kwargs=True)
    try:
        steps = TorchGenerationState(model, batch(not model.config.is_encoder_decoder))
        steps.prefill(5)
        steps.decode(torch.full((15,), 20))
    finally:
        hook.remove()
    if model.config.is_encoder_decoder:
        assert [given["input_ids"].shape for given in forward_calls] == [(3, 4)]
    else:
        assert steps._mask.shape == (15, 5) and len(forward_calls) == 2


def test_prefill_computes_logits_of_the_last_token_only(gpt2):
    sizes = []
    hook = gpt2.lm_head.register_forward_hook(lambda _, __, logits: sizes.append(tuple(logits.shape)))
    try:
        TorchGenerationState(gpt2, batch(True)).prefill()
    finally:
        hook.remove()
    assert sizes == [(3, 1, V)]  # not (3, 4, V): vocabularies are large


def test_bf16_computes_in_bfloat16_and_returns_float32(model):
    given = batch(not model.config.is_encoder_decoder)
    exact, rounded = TorchGenerationState(model, given), TorchEngine(model, precision="bf16").begin(given)
    pairs = [
        (exact.prefill(), rounded.prefill()),
        (exact.decode(torch.tensor([2, 3, 4])), rounded.decode(torch.tensor([2, 3, 4]))),
    ]
    for one, other in pairs:
        assert other.dtype == torch.float32 and not other.requires_grad and not torch.equal(one, other)
        torch.testing.assert_close(one, other, atol=0.15 * float(one.abs().max()), rtol=0)


def test_max_remaining_is_limited_by_the_positions(gpt2, t5):
    assert TorchGenerationState(gpt2, batch(True)).max_remaining == (12, 14, 13)
    assert TorchGenerationState(t5, batch(False)).max_remaining is None
    with pytest.raises(DataError, match="a prompt has 17 tokens and this model reads 16"):
        TorchGenerationState(gpt2, batch(True, [[5] * 17, [6]]))


def test_all_positions_can_be_generated(gpt2):
    steps = TorchGenerationState(gpt2, batch(True, [[5] * 14, [6]]))
    assert steps.max_remaining == (2, 15)
    steps.prefill()
    steps.decode(torch.tensor([7, 7]))
    for _ in range(13):
        steps.decode(torch.tensor([8]), torch.tensor([1 if _ == 0 else 0]))


def test_unusable_prompts_are_errors(gpt2):
    with pytest.raises(DataError, match="a prompt has no tokens"):
        TorchGenerationState(gpt2, {"input_ids": torch.tensor([[5], [0]]), "attention_mask": torch.tensor([[1], [0]])})
    with pytest.raises(ValueError, match="pad them on the left"):
        TorchGenerationState(gpt2, batch(False))


@pytest.mark.parametrize(
    ("settings", "config", "expected"),
    [(None, 3, (3,)), (4, 3, (4,)), ([5, 6], 3, (5, 6)), (None, [7, 8], (7, 8)), (None, None, ())],
)
def test_end_tokens_may_be_one_many_or_none(settings, config, expected):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=4))
    model.config.eos_token_id = config
    model.generation_config = GenerationConfig(eos_token_id=settings)
    assert end_ids(model) == expected


def test_decoder_starts_with_the_start_token_or_else_with_padding():
    def tiny_t5(**ids):
        torch.manual_seed(0)
        sizes = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 1, "d_kv": 16}
        model = T5ForConditionalGeneration(T5Config(vocab_size=V, **sizes, **ids)).eval()
        model.generation_config = GenerationConfig()
        return model

    def first(model):
        return TorchGenerationState(model, batch(False)).prefill()

    with torch.no_grad():
        for ids, start in (({"decoder_start_token_id": 4, "pad_token_id": 2}, 4), ({"pad_token_id": 2}, 2)):
            model = tiny_t5(**ids)
            start_ids = torch.full((3, 1), start)
            torch.testing.assert_close(first(model), model(**batch(False), decoder_input_ids=start_ids).logits[:, -1])
    model = tiny_t5(pad_token_id=2)
    model.config.pad_token_id = None
    with pytest.raises(ConfigError, match="neither decoder_start_token_id nor pad_token_id"):
        first(model)
