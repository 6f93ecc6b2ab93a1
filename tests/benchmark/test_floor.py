"""The floor of the work, against the shapes of known models."""

import pytest

from hftool.benchmark.benchmark import floors
from hftool.benchmark.floor import Shape

MINILM = Shape(layers=6, width=384, weights=6 * (4 * 384**2 + 2 * 384 * 1536), output=0, parameters=22_713_216)


def test_a_forward_pass_is_the_formula():
    tokens, squares = 12 + 30, 12**2 + 30**2
    assert MINILM.forward([12, 30]) == 2 * tokens * MINILM.weights + 4 * 6 * 384 * squares


def test_the_last_layer_leaves_out_what_the_first_token_does_not_read():
    """Of its other tokens: the query, the output projection, the feed-forward layers and their attention."""
    skipped = 2 * 29 * (2 * 384**2 + 2 * 384 * 1536) + 4 * 384 * (30**2 - 30)
    assert MINILM.forward([30]) - MINILM.forward([30], first_token=True) == skipped


def test_one_token_has_nothing_to_leave_out():
    assert MINILM.forward([1], first_token=True) == MINILM.forward([1])


def test_a_head_over_the_vocabulary_is_computed_for_every_token():
    shape = Shape(layers=1, width=4, weights=100, output=40, parameters=200)
    assert shape.forward([3, 2], head=True) - shape.forward([3, 2]) == 2 * 5 * 40


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_the_shape_of_a_model_counts_the_matrices_of_its_layers(kind):
    from hftool.benchmark.floor import Shape
    from hftool.workflow import load
    from support import families

    model = load(families.folder(kind), offline=True).model
    shape, config = Shape.of(model), model.config
    width, inner = (
        config.hidden_size,
        getattr(config, "intermediate_size", None) or getattr(config, "d_ff", None) or 4 * config.hidden_size,
    )
    attention = {
        "bert": 4 * width**2,
        "gpt2": 4 * width**2,
        "t5": 8 * width * config.num_attention_heads * getattr(config, "d_kv", 0),
    }[kind]
    matrices = 3 if kind == "t5" and config.is_gated_act else 2
    assert shape.weights == config.num_hidden_layers * (attention + matrices * width * inner)
    assert shape.output == (0 if kind == "bert" and not model.get_output_embeddings() else config.vocab_size * width)


def test_floors_take_the_slower_of_products_and_memory():
    rates = {"fp32": 100.0, "bf16": None, "fp16": None, "memory": 10.0}
    assert floors({"gflop": 2.0}, rates) == {"fp32": 50.0, "bf16": None}
    assert floors({"gflop": 2.0, "weights_of_unit": 1e9}, rates)["fp32"] == 2.5
    assert floors({"gflop": 2.0, "bytes_of_unit": 1e9}, rates)["fp32"] == pytest.approx(1 / (0.02 + 0.1))
