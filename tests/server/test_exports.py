"""A served export: its graphs answer, and batches are padded, not packed, which only torch models can do."""

import importlib

import pytest

from hftool import workflow
from support import serving

TEXTS = ["a warm funny film", "a cold dull film"]


def test_served_export_uses_onnx_graphs(tiny_export):
    loaded = workflow.load(str(tiny_export))
    predictor = importlib.import_module("hftool.workflow._serve")._predictor(loaded, {})
    assert type(predictor.engine).__name__ == "OnnxEngine" and not predictor.engine.packs


@pytest.mark.slow  # its own server
def test_served_export_answers_as_in_process(tiny_export, tmp_path):
    expected = workflow.infer(str(tiny_export), TEXTS)
    with serving.started([f"film={tiny_export}"], folder=tmp_path) as server:
        status, _, body = server.ask("/models/film/predict", {"inputs": TEXTS})
    assert status == 200
    for answers, one in zip(body, expected, strict=True):
        assert {row["label"]: row["score"] for row in answers} == pytest.approx(one["probabilities"], abs=1e-6)
