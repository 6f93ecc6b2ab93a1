"""An export behind the server answers as it does without one: the graphs are never packed, which is for torch models."""

import importlib

import pytest

from hftool import workflow
from support import exports, serving

TEXTS = ["the red cat is warm", "ann went to rome"]


@pytest.fixture(scope="module")
def folder():
    return exports.exported("bert", "classify")[0]


def test_what_answers_in_the_server_is_made_of_graphs(folder):
    loaded = workflow.load(str(folder))
    predictor = importlib.import_module("hftool.workflow._serve")._predictor(loaded, {})
    assert type(predictor.engine).__name__ == "OnnxEngine" and not predictor.engine.packs


@pytest.mark.slow  # a server of its own
def test_an_export_is_served(folder, tmp_path):
    expected = workflow.infer(str(folder), TEXTS)
    with serving.started([f"film={folder}"], folder=tmp_path) as server:
        status, _, body = server.ask("/models/film/predict", {"inputs": TEXTS})
    assert status == 200
    for answers, one in zip(body, expected, strict=True):
        assert {row["label"]: row["score"] for row in answers} == pytest.approx(one["probabilities"], abs=1e-6)
