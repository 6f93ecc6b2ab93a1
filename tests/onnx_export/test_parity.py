import copy
import dataclasses
import importlib

import pytest
import torch

from hftool.engines.torch import TorchEngine
from hftool.errors import DataError
from hftool.heads import get_head
from hftool.inference.predictor import Predictor
from hftool.models import HeadConfig
from hftool.onnx_export import export_job, parity
from hftool.onnx_export.parity import Pair
from hftool.onnx_export.sample_texts import TEXTS, inference_rows, pairs_as_rows, texts_as_rows
from support.exports import random_head

make_job = importlib.import_module("hftool.workflow._export").make_job


def pair_of(kind, head, change=None):
    """A pair of a model and its copy, modified by `change`; and the job that exports the model."""
    loaded, source = random_head(kind, head)
    head_object = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    other = copy.deepcopy(loaded.model)
    if change is not None:
        with torch.no_grad():
            change(other)
    engines = TorchEngine(loaded.model), TorchEngine(other)
    return Pair(*(Predictor(engine, head_object) for engine in engines)), make_job(source, loaded, ())


def rotate_labels(model):
    """Every label becomes the next."""
    model.classifier.weight.copy_(model.classifier.weight.roll(1, dims=0))


def blind_to_padding(model):
    """A graph whose mask was lost in the trace: right for one text, and for texts of one length."""
    forward = model.forward
    model.forward = lambda **inputs: forward(**{**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])})


@pytest.mark.parametrize("head", ["classify", "tag", "answer", "fill", "embed"])
def test_a_model_agrees_with_itself(head):
    pair, job = pair_of("bert", head)
    report = export_job._check_parity(pair, job, token_type_ids=head in ("classify", "answer"))
    assert max(report[part]["relative"] for part in ("outputs", "random")) < 1e-6
    assert report["answers"]["same"] == report["answers"]["of"] >= len(job.rows)


@pytest.mark.parametrize("change", [rotate_labels, blind_to_padding, lambda model: model.classifier.bias.fill_(torch.nan)])
def test_graphs_with_other_answers_are_rejected(change):
    pair, job = pair_of("bert", "classify", change)
    with pytest.raises(DataError, match="do not answer as the model does"):
        export_job._check_parity(pair, job, token_type_ids=True)


def test_random_batches_have_one_text_and_several_padding_and_new_lengths():
    pair, _ = pair_of("bert", "classify")
    batches = list(parity.random_batches(pair.head, vocab_size=50, max_tokens=32, token_type_ids=True))
    shapes = [tuple(batch["input_ids"].shape) for batch in batches]
    assert (
        (1, 1) in shapes and len(set(shapes)) == len(shapes) and (len(export_job.SAMPLE), max(export_job.SAMPLE)) not in shapes
    )
    assert any(not batch["attention_mask"].all() for batch in batches)
    assert any(batch["token_type_ids"].any() for batch in batches)
    assert all(int(batch["input_ids"].max()) < 50 for batch in batches)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_generated_texts_are_compared_token_by_token(kind):
    head = {"gpt2": "generate", "t5": "text2text"}[kind]

    def change(model):
        model.get_input_embeddings().weight.copy_(model.get_input_embeddings().weight.flip(0))

    same, job = pair_of(kind, head)
    assert export_job._check_parity(same, job, token_type_ids=False)["random"]["texts"] >= 10
    other, _ = pair_of(kind, head, change)
    with pytest.raises(DataError, match="do not answer"):
        export_job._check_parity(other, job, token_type_ids=False)


def test_quantized_graphs_may_differ_in_one_of_twenty_answers():
    pair, job = pair_of("bert", "classify")
    answers = [{"label": "a"}] * 100
    for wrong, passes in ((5, True), (6, False)):
        after = [{"label": "b"}] * wrong + answers[wrong:]
        stubs = Pair(_stub(pair.before, answers), _stub(pair.after, after))
        if passes:
            assert export_job._check_agreement(stubs, job)["same"] == 95
        else:
            with pytest.raises(DataError, match="only 94 of 100 answers"):
                export_job._check_agreement(stubs, job)


def _stub(predictor, answers):
    class Stub(type(predictor)):
        def answer_features(self, features, on_token=None):
            return answers

    return Stub(predictor.engine, predictor.head)


@pytest.mark.parametrize(
    ("head", "before", "after", "same"),
    [
        ("classify", {"label": "a", "probability": 0.9}, {"label": "a", "probability": 0.6}, (1, 1)),
        ("tag", {"tags": ["O", "B-X"]}, {"tags": ["O", "O"]}, (1, 2)),
        ("answer", {"answer": None}, {"answer": "Rome"}, (0, 1)),
        (
            "fill",
            {"masks": [{"fills": [{"token": "a"}, {"token": "b"}]}], "text": "a"},
            {"masks": [{"fills": [{"token": "a"}, {"token": "c"}]}], "text": "a"},
            (1, 1),
        ),
    ],
)
def test_answers_agree_in_the_compared_part(head, before, after, same):
    head_object = get_head(None, HeadConfig(head=head))
    (_, one), (_, other) = head_object.decision(before), head_object.decision(after)
    assert parity._agree(one, other, 0.0) == same


def test_a_metric_that_drops_by_more_than_a_point_is_an_error(monkeypatch):
    pair, job = pair_of("bert", "classify")
    rows = [{"text": "x", "label": i % 3} for i in range(500)]
    job = dataclasses.replace(job, labelled_rows=rows)
    for drop, passes in ((0.0099, True), (0.011, False)):
        figures = iter([{"accuracy": 0.9, "loss": 1.0}, {"accuracy": 0.9 - drop, "loss": 1.0}])
        monkeypatch.setattr(parity, "measure", lambda *_: next(figures))  # noqa: B023
        if passes:
            assert export_job._check_metrics(pair, job, "int8")["rows"] == 500
        else:
            with pytest.raises(DataError, match="accuracy goes from 0.9000 to 0.8890"):
                export_job._check_metrics(pair, job, "int8")


@pytest.mark.parametrize(
    ("kind", "head"), [("bert", "tag"), ("bert", "answer"), ("roberta", "fill"), ("gpt2", "generate"), ("t5", "text2text")]
)
def test_every_head_gets_texts_it_can_take(kind, head):
    _, job = pair_of(kind, head)
    assert len(job.rows) >= 3
    assert (head == "classify") == bool(job.pairs)


def test_pairs_are_compared_where_the_head_takes_them():
    pair, job = pair_of("bert", "classify")
    assert len(job.pairs) == len(TEXTS) and all(row["text_pair"] != row["text"] for row in job.pairs)
    assert inference_rows(pair.head, [{"text": "a", "label": 1}]) == [{"text": "a"}]
    assert texts_as_rows(pair.head, ["a b"]) == [{"text": "a b"}]
    assert pairs_as_rows(pair_of("bert", "tag")[0].head) == []
