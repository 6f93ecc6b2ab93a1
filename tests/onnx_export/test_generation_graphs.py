import copy

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hftool.errors import ConfigError, UsageError
from hftool.onnx_export import generation_graphs
from hftool.onnx_export.program import WEIGHTS, fold_transposes, save_graphs, silence
from support.tiny_generators import V, exported


@pytest.mark.parametrize(("family", "graphs"), [("gpt2", {"decoder"}), ("t5", {"encoder", "decoder"})])
def test_weights_are_stored_once(family, graphs):
    model, _, folder, files = exported(family)
    assert files == {name: f"{name}.onnx" for name in graphs}
    assert {path.name for path in folder.iterdir()} == {*files.values(), WEIGHTS}
    weights = sum(tensor.nbytes for tensor in dict(model.named_parameters()).values())  # tied ones are counted once
    stored = sum({(t.offset, t.length): t.length for t in externals(folder, files)}.values())
    assert stored <= weights
    assert {t.location for t in externals(folder, files)} == {WEIGHTS}


def externals(folder, files):
    """The tensors that the graphs read from the weights file."""
    values = (value for file in files.values() for value in onnx_ir.load(folder / file).graph.initializers.values())
    return [value.const_value for value in values if isinstance(value.const_value, onnx_ir.ExternalTensor)]


def test_encoder_and_decoder_share_the_embeddings():
    model, _, folder, files = exported("t5")
    extents = [
        {(t.offset, t.length) for t in externals(folder, {name: file}) if t.length == model.shared.weight.nbytes}
        for name, file in files.items()
    ]
    assert len(extents[0] & extents[1]) == 1


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_graphs_have_no_paths_of_the_machine_and_named_axes(family):
    _, graphs, folder, files = exported(family)
    for name, file in files.items():
        data = (folder / file).read_bytes()
        assert b"/hftool/" not in data and b"site-packages" not in data and b"stack_trace" not in data
        axes = {value.name: value.shape for value in graphs.sessions[name].get_inputs()}
        assert axes["input_ids"] == ["rows", "tokens"]
        if name == "decoder":
            assert axes["keep"] == ["wanted"] and axes["past.0.value"] == ["rows", 2, "past", 16]
            assert axes["attention_mask"] == ["rows", "source" if family == "t5" else "read"]
            outputs = {value.name: value.shape for value in graphs.sessions[name].get_outputs()}
            assert outputs["logits"] == ["rows", "wanted", V] and outputs["present.0.key"] == ["rows", 2, "past + tokens", 16]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_graphs_pass_the_checker_of_onnx(family):
    import onnx

    _, _, folder, files = exported(family)
    for file in files.values():
        onnx.checker.check_model(folder / file, full_check=True)
        domains = {node.domain for node in onnx.load(folder / file, load_external_data=False).graph.node}
        assert domains <= {"", "ai.onnx"}


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_logits_are_computed_only_where_they_are_wanted(family):
    _, graphs, _, _ = exported(family)
    decoder = graphs.sessions["decoder"]
    feeds = {
        "input_ids": np.full((2, 5), 7),
        "attention_mask": np.ones((2, 5), np.int64),
        "position_ids": np.tile(np.arange(5), (2, 1)),
    }
    heads = {"past": 0, "cross": 5}
    for value in decoder.get_inputs():
        kind = value.name.split(".")[0]
        if kind in heads:
            feeds[value.name] = np.ones((2, 2, heads[kind], 16), np.float32)
    feeds = {name: array for name, array in feeds.items() if name in {value.name for value in decoder.get_inputs()}}
    every = decoder.run(["logits"], {**feeds, "keep": np.arange(5)})[0]
    some = decoder.run(["logits"], {**feeds, "keep": np.array([4, 1])})[0]
    np.testing.assert_allclose(some, every[:, [4, 1]], atol=1e-5)


def test_nothing_is_printed_and_the_model_is_unchanged(tmp_path, capfd):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=16)).eval()
    before, config = copy.deepcopy(model.state_dict()), model.config.to_dict()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        answer = model(ids).logits
        generation_graphs.write_graphs(model, tmp_path)  # any warning would be an error here
        assert torch.equal(model(ids).logits, answer)
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config.to_dict() == config and "forward" not in vars(model)


# ---- weights that are read transposed


def product(*, tied):
    """A graph that multiplies by transposed weights (40, 20) and, if tied, also looks up rows of them."""
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(0).standard_normal((40, 20)).astype(np.float32)
    nodes = [helper.make_node("Transpose", ["weights"], ["transposed"], perm=[1, 0])]
    nodes.append(helper.make_node("MatMul", ["x", "transposed"], ["z" if tied else "y"]))
    if tied:
        nodes.append(helper.make_node("Gather", ["weights", "ids"], ["rows"]))
        nodes.append(helper.make_node("MatMul", ["rows", "transposed"], ["products"]))
        nodes.append(helper.make_node("Add", ["z", "products"], ["y"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 20])]
    inputs.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 40])]
    graph = helper.make_graph(nodes, "product", inputs, outputs, [numpy_helper.from_array(numbers, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_ir.serde.deserialize_model(model)


@pytest.mark.parametrize(("tied", "fold_tied", "folded"), [(False, False, 1), (True, False, 0), (True, True, 1)])
def test_weights_that_are_only_read_transposed_are_stored_so(tmp_path, tied, fold_tied, folded):
    feeds = {"x": np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32), "ids": np.array([0, 5, 39])}
    answers = []
    for fold in (False, True):
        program = product(tied=tied)
        if fold:
            assert fold_transposes(program, tied=fold_tied) == folded
            kinds = {node.op_type for node in program.graph}
            assert ("Transpose" in kinds) == (not folded)
            assert ("weights" in program.graph.initializers) == tied
        files = save_graphs({"model": program}, tmp_path)
        session = onnxruntime.InferenceSession(tmp_path / files["model"])
        answers.append(session.run(None, feeds)[0])
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_graphs_can_overwrite_the_file_that_they_read(tmp_path):
    save_graphs({"model": product(tied=True)}, tmp_path)
    before = (tmp_path / WEIGHTS).read_bytes()
    assert len(before) == 40 * 20 * 4
    save_graphs({"model": onnx_ir.load(tmp_path / "model.onnx")}, tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", WEIGHTS]


# ---- what cannot be exported


def test_a_model_with_another_cache_is_refused(tmp_path, monkeypatch):
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = MistralForCausalLM(MistralConfig(vocab_size=20, num_key_value_heads=1, sliding_window=4, **sizes)).eval()
    with pytest.raises(UsageError, match="does not keep all keys and values"):
        generation_graphs.write_graphs(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_error_is_one_line(tmp_path):
    class Odd(GPT2LMHeadModel):
        def forward(self, input_ids=None, **given):
            if isinstance(input_ids.shape[0], torch.SymInt):
                raise RuntimeError("a branch\nthat depends on data")
            return super().forward(input_ids, **given)

    model = Odd(GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=16)).eval()
    with pytest.raises(ConfigError, match="Odd cannot be exported: .*a branch that depends on data") as caught:
        generation_graphs.write_graphs(model, tmp_path)
    assert "\n" not in str(caught.value)


def test_silence_ends():
    import logging

    level = logging.getLogger("torch.onnx").level
    with pytest.raises(RuntimeError), silence():
        print("[torch.onnx] noise")
        raise RuntimeError
    assert logging.getLogger("torch.onnx").level == level
