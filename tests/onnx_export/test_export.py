import json

import pytest
import torch

from hftool.engines.onnx import OnnxEngine, OnnxModel, open_model
from hftool.engines.torch import TorchEngine
from hftool.errors import DataError
from hftool.onnx_export.encoder_graph import write_graph
from hftool.onnx_export.quantize import quantize_graphs
from support.exports import exported, graph, random_head

ENCODERS = [
    ("bert", "tag"),
    ("bert", "answer"),
    ("bert", "fill"),
    ("roberta", "classify"),
    ("gpt2", "classify"),
    ("t5", "embed"),
]


def test_a_graph_answers_any_batch_and_names_its_axes():
    folder, loaded, report = exported("t5", "classify")
    model = open_model(folder, report["graphs"], loaded.model.config)
    [ids, mask] = model.sessions["model"].get_inputs()
    assert [ids.name, ids.shape, mask.name, mask.shape] == [
        "input_ids",
        ["batch", "tokens"],
        "attention_mask",
        ["batch", "tokens"],
    ]
    for shape in ((1, 1), (1, 9), (5, 3), (2, 61)):
        batch = {"input_ids": torch.randint(3, 40, shape), "attention_mask": torch.ones(shape, dtype=torch.long)}
        batch["attention_mask"][:, shape[1] // 2 + 1 :] = 0
        before, after = TorchEngine(loaded.model).forward(batch), OnnxEngine(model).forward(batch)
        torch.testing.assert_close(after["logits"], before["logits"], rtol=1e-4, atol=1e-4)


def test_only_what_the_head_reads_is_in_the_graph(tmp_path):
    loaded, _ = random_head("bert", "embed")
    sample = {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    write_graph(loaded.model, sample, ("last_hidden_state",), tmp_path)
    import onnx

    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [value.name for value in model.graph.output] == ["last_hidden_state"]
    assert not [value.name for value in model.graph.initializer if "pooler" in value.name]
    assert loaded.model.config.to_dict().get("use_cache") is not False


def test_int8_is_smaller_and_reports_what_was_converted():
    _, _, report = exported("t5", "classify", "int8")
    assert report["converted"]["products"] >= 12
    assert report["bytes"]["after"] < 0.6 * exported("t5", "classify")[2]["bytes"]["after"]
    assert report["agreement"]["of"] - report["agreement"]["same"] <= 1


def test_a_quantization_that_converts_nothing_fails(tmp_path):
    graph(tmp_path / "model.onnx")
    with pytest.raises(DataError, match="converted no product at all"):
        quantize_graphs(tmp_path, {"model": "model.onnx"})


def test_export_json_has_what_was_measured():
    folder, _, report = exported("t5", "classify")
    assert json.loads((folder / "export.json").read_text(encoding="utf-8")) == report
    assert report["parity"]["outputs"]["relative"] <= report["parity"]["tolerance"]
    assert set(report["files"]) == {"model.onnx", "weights.data"}
    assert report["latency"]["before_ms"] > 0 and report["latency"]["after_ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize(
    ("kind", "head"), [*ENCODERS, ("gpt2", "tag"), ("gpt2", "generate"), ("t5", "text2text"), ("bert", "embed")]
)
def test_every_head_of_every_family(kind, head, quantize):
    report = exported(kind, head, quantize)[2]
    assert report["parity"]["outputs"]["relative"] <= report["parity"]["tolerance"]


class Session:
    """A session with these inputs and outputs, whose run fails."""

    def __init__(self, inputs=("input_ids",), outputs=("logits",)):
        self.inputs, self.outputs = inputs, outputs

    def get_inputs(self):
        return [type("Value", (), {"name": name}) for name in self.inputs]

    def get_outputs(self):
        return [type("Value", (), {"name": name}) for name in self.outputs]

    def run(self, names, feed):
        raise RuntimeError("Non-zero status code returned\nwhile running Gather")


BATCH = {"input_ids": torch.ones(1, 2, dtype=torch.long), "attention_mask": torch.ones(1, 2, dtype=torch.long)}


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (Session(), "does not take attention_mask"),
        (Session(("input_ids", "attention_mask"), ("other",)), "does not give logits"),
        (Session(("input_ids", "attention_mask")), "the graph cannot answer: Non-zero status code returned while"),
    ],
)
def test_a_graph_that_does_not_fit_is_a_one_line_error(session, message):
    engine = OnnxEngine(OnnxModel({"model": session}, config=None))
    with pytest.raises(DataError, match=message) as caught:
        engine.forward(BATCH)
    assert "\n" not in str(caught.value)


def test_a_graph_that_cannot_be_opened_is_a_one_line_error(tmp_path):
    graph(tmp_path / "model.onnx", domain="com.microsoft", op="NoSuchOperator")
    with pytest.raises(DataError, match="cannot be opened"):
        open_model(tmp_path, {"model": "model.onnx"}, None)
