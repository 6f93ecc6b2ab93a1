from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from hftool.engines.kv_cache import TorchGenerationState
from hftool.engines.onnx_generation import OnnxGenerationState, forward_generator
from hftool.engines.torch import TorchEngine
from hftool.errors import ConfigError, DataError
from hftool.heads.protocol import SamplingParams
from hftool.inference.generation import generate
from support.tiny_generators import V, exported


@pytest.fixture(params=["gpt2", "t5"])
def pair(request):
    """A PyTorch model and its ONNX graphs."""
    return exported(request.param)[:2]


class OnnxEngine:
    """The engine interface of `generate` over ONNX graphs."""

    def __init__(self, graphs):
        self.graphs = graphs

    def begin(self, batch):
        return OnnxGenerationState(self.graphs, batch)


def prompts(seed, *, left, rows=5, longest=12):
    """A batch of random prompts of different lengths; no prompt contains the pad token 0."""
    draws = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, V, (rows, longest), generator=draws)
    lengths = torch.randint(1, longest + 1, (rows, 1), generator=draws)
    positions = torch.arange(longest)[None]
    mask = (positions >= longest - lengths) if left else (positions < lengths)
    width = int(lengths.max())
    batch = {"input_ids": ids * mask, "attention_mask": mask.long()}
    return {key: value[:, -width:] if left else value[:, :width] for key, value in batch.items()}


def prompts_for(model, seed=0, **sizes):
    return prompts(seed, left=not model.config.is_encoder_decoder, **sizes)


def with_end_tokens(model, ends):
    """Sets the end tokens of a model, or of graphs, in place, and returns it."""
    model.generation_config = GenerationConfig(pad_token_id=0, decoder_start_token_id=0, eos_token_id=ends or None)
    return model


SAMPLING_OPTIONS = [
    {},
    {"beams": 4, "samples": 4},
    {"beams": 4, "length_penalty": 0.0},
    {"temperature": 1.3, "samples": 3},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 7},
]


SIZES = [(1, 1), (1, 9), (2, 3), (5, 12), (8, 7)]  # number of rows, tokens of the longest prompt


@pytest.mark.parametrize("options", SAMPLING_OPTIONS)
def test_generated_texts_equal_those_of_the_model(pair, options):
    model, graphs = pair
    sampling, finishes = SamplingParams(max_new_tokens=9, **options), Counter()
    for seed, (rows, longest) in enumerate(SIZES):
        batch = prompts_for(model, seed, rows=rows, longest=longest)
        free = generate(TorchEngine(with_end_tokens(model, [])), batch, sampling, tokenizer=None)
        ends = [free[0][0].ids[4]]  # this end token finishes some texts early, so rows leave the batch
        expected = generate(TorchEngine(with_end_tokens(model, ends)), batch, sampling, tokenizer=None)
        generated = generate(OnnxEngine(with_end_tokens(graphs, ends)), batch, sampling, tokenizer=None)
        for texts, others in zip(generated, expected, strict=True):
            assert [(text.ids, text.finish) for text in texts] == [(other.ids, other.finish) for other in others]
            assert [text.score for text in texts] == pytest.approx([other.score for other in others], abs=1e-3)
            finishes.update(text.finish for text in texts)
    assert min(finishes["stop"], finishes["length"]) > 1  # both finish reasons occurred


def test_rows_finish_fork_and_reorder(pair):
    model, graphs = pair
    batch = prompts_for(model, 3, rows=3)
    onnx_state, torch_state = OnnxGenerationState(graphs, batch), TorchGenerationState(model, batch)
    assert onnx_state.max_remaining == torch_state.max_remaining
    torch.testing.assert_close(onnx_state.prefill(2), torch_state.prefill(2), atol=1e-4, rtol=1e-4)
    for rows in (None, [1, 0, 3, 3, 5, 4], [4, 4, 0], [2, 1, 0, 1], [3]):
        count = 6 if rows is None else len(rows)
        step = torch.arange(10, 10 + count), None if rows is None else torch.tensor(rows)
        generated = onnx_state.decode(*step)
        assert generated.shape == (count, V) and generated.dtype == torch.float32
        torch.testing.assert_close(generated, torch_state.decode(*step), atol=1e-4, rtol=1e-4)


def test_encoder_states_are_not_copied_when_beams_are_reordered():
    _, graphs = exported("t5")[:2]
    steps = OnnxGenerationState(graphs, prompts(3, left=False, rows=2))
    steps.prefill(2)
    source = steps._source
    steps.decode(torch.tensor([5, 6, 7, 8]), torch.tensor([1, 0, 3, 3]))
    assert steps._source is source
    steps.decode(torch.tensor([5, 6]), torch.tensor([1, 3]))
    assert {len(array) for array in steps._source.values()} == {2}


@pytest.mark.parametrize("rows", [1, 4])
def test_scoring_logits_equal_those_of_the_model_at_every_position(pair, rows):
    model, graphs = pair
    batch = prompts(rows, left=False, rows=rows)  # for scoring, both families are padded on the right
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.randint(0, V, (rows, 6), generator=torch.Generator().manual_seed(1))
    expected = TorchEngine(model).forward({**batch, "labels": batch["input_ids"]})["logits"]
    generated = forward_generator(graphs, {**batch, "labels": batch["input_ids"]})["logits"]
    assert generated.dtype == torch.float32
    torch.testing.assert_close(generated, expected, atol=1e-4, rtol=1e-4)
    if not model.config.is_encoder_decoder:
        shifted = {**batch, "position_ids": torch.arange(3, 3 + batch["input_ids"].shape[1]).expand(rows, -1)}
        expected = TorchEngine(model).forward(shifted)["logits"]
        torch.testing.assert_close(forward_generator(graphs, shifted)["logits"], expected, atol=1e-4, rtol=1e-4)


def test_unusable_prompts_are_errors():
    _, graphs = exported("gpt2")[:2]
    with pytest.raises(DataError, match="a prompt has no tokens"):
        OnnxGenerationState(graphs, {"input_ids": torch.tensor([[5], [0]]), "attention_mask": torch.tensor([[1], [0]])})
    with pytest.raises(ValueError, match="pad them on the left"):
        OnnxGenerationState(graphs, {"input_ids": torch.tensor([[5, 0]]), "attention_mask": torch.tensor([[1, 0]])})
    long = torch.full((1, 65), 5)
    with pytest.raises(DataError, match="a prompt has 65 tokens and this model reads 64"):
        OnnxGenerationState(graphs, {"input_ids": long, "attention_mask": torch.ones_like(long)})


def test_all_positions_can_be_generated(pair):
    model, graphs = pair
    batch = prompts_for(model, 0, rows=2, longest=60)
    generated = generate(OnnxEngine(with_end_tokens(graphs, [])), batch, SamplingParams(max_new_tokens=90), tokenizer=None)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    room = [90, 90] if model.config.is_encoder_decoder else [64 - length for length in lengths]
    assert [len(texts[0].ids) for texts in generated] == room


def test_encoder_decoder_needs_a_start_token():
    model, graphs = exported("t5")[:2]
    batch = prompts(0, left=False, rows=2)
    config = SimpleNamespace(is_encoder_decoder=True, decoder_start_token_id=9, eos_token_id=None)
    bare = SimpleNamespace(sessions=graphs.sessions, config=config, generation_config=None)
    generated = OnnxGenerationState(bare, batch).prefill()
    with torch.no_grad():
        expected = model(**batch, decoder_input_ids=torch.tensor([[9], [9]])).logits[:, -1]
    torch.testing.assert_close(generated, expected, atol=1e-4, rtol=1e-4)
    config.decoder_start_token_id = None
    with pytest.raises(ConfigError, match="neither decoder_start_token_id nor pad_token_id"):
        OnnxGenerationState(bare, batch).prefill()


class Session:
    """An ONNX session with arbitrary inputs and outputs, as a third-party export may have."""

    def __init__(self, inputs, outputs, results=()):
        self.inputs, self.outputs, self.results = inputs, outputs, results

    def get_inputs(self):
        return [SimpleNamespace(name=name, shape=shape) for name, shape in self.inputs.items()]

    def get_outputs(self):
        return [SimpleNamespace(name=name, shape=[]) for name in self.outputs]

    def run(self, wanted, feeds):
        if not self.results:
            raise RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT")
        return list(self.results)


CACHE_INPUTS = {"past.0.key": ["rows", 2, "past", 4]}


@pytest.mark.parametrize(
    ("sessions", "message"),
    [
        ({"model": Session({}, ["logits"])}, "no graph called 'decoder'"),
        (
            {"decoder": Session({"past.0.key": ["a", "b", "c", "d"]}, ["logits", "present.0.key"])},
            "does not declare the shape of its key-value cache",
        ),
        (
            {"decoder": Session({"past.0.key": [1]}, ["logits", "present.0.key"])},
            "does not declare the shape of its key-value cache",
        ),
        ({"decoder": Session(CACHE_INPUTS, ["logits"])}, "does not give 'present.0.key'"),
        ({"decoder": Session(CACHE_INPUTS, ["present.0.key"])}, "does not give 'logits'"),
        ({"decoder": Session(CACHE_INPUTS, ["logits", "present.0.key"])}, "the graph cannot answer: .*INVALID_ARGUMENT"),
        (
            {"decoder": Session(CACHE_INPUTS, ["logits", "present.0.key"], (np.zeros((1, 9)), np.zeros((1, 2, 1, 4))))},
            r"logits of the shape \(1, 9\)",
        ),
    ],
)
def test_graphs_that_cannot_generate_are_errors(sessions, message):
    _, graphs = exported("gpt2")[:2]
    damaged = SimpleNamespace(**{**vars(graphs), "sessions": sessions})
    with pytest.raises(DataError, match=message):
        OnnxGenerationState(damaged, {"input_ids": torch.tensor([[5]]), "attention_mask": torch.tensor([[1]])}).prefill()


def test_encoder_decoder_without_its_encoder_is_an_error():
    _, graphs = exported("t5")[:2]
    alone = SimpleNamespace(**{**vars(graphs), "sessions": {"decoder": graphs.sessions["decoder"]}})
    with pytest.raises(DataError, match="no graph called 'encoder'"):
        OnnxGenerationState(alone, prompts(0, left=False)).prefill()
