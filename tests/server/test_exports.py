"""An export behind the server answers as it does without one: the graphs are never packed, which is for torch models."""

import importlib

import pytest

from hftool import workflow
from support import serving

TEXTS = ["a warm funny film", "a cold dull film"]


def test_what_answers_in_the_server_is_made_of_graphs(tiny_export):
    loaded = workflow.load(str(tiny_export))
    predictor = importlib.import_module("hftool.workflow._serve")._predictor(loaded, {})
    assert type(predictor.engine).__name__ == "OnnxEngine" and not predictor.engine.packs


@pytest.mark.slow  # a server of its own
def test_an_export_is_served(tiny_export, tmp_path):
    expected = workflow.infer(str(tiny_export), TEXTS)
    with serving.started([f"film={tiny_export}"], folder=tmp_path) as server:
        status, _, body = server.ask("/models/film/predict", {"inputs": TEXTS})
    assert status == 200
    for answers, one in zip(body, expected, strict=True):
        assert {row["label"]: row["score"] for row in answers} == pytest.approx(one["probabilities"], abs=1e-6)
