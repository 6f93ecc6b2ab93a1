import math

import pytest
import torch

from hftool.errors import DataError
from hftool.inference import predictor as module
from hftool.inference.predictor import Predictor
from hftool.models import HeadConfig, load_model
from hftool.server.batching.execution import _run_rows
from hftool.server.batching.queue import QueuedRow, batch_key_of
from hftool.workflow._load import load, make_predictor
from support import families
from support.trainer_factory import WORDS


@pytest.fixture(scope="module")
def predictor(tiny_bert):
    torch.manual_seed(1)
    head_config = HeadConfig(head="classify", labels=("bad", "good"), max_length=64)
    loaded = load_model(tiny_bert, "AutoModelForSequenceClassification", head_config=head_config, new_head=True)
    return make_predictor(loaded)


def rows(count):
    return [
        {"text": " ".join(WORDS[(i + k) % len(WORDS)] for k in range(1 + (7 * i) % 17)), "label": i % 2} for i in range(count)
    ]


@pytest.fixture(scope="module")
def alone(predictor):
    """The answer of each row, each computed in a batch of one."""
    return [next(predictor.answer([row])) for row in rows(60)]


@pytest.mark.parametrize("tokens", [1, 7, 40, 300, 10**6])
def test_answers_are_in_row_order_and_independent_of_the_batch(predictor, alone, tokens):
    answers = list(Predictor(predictor.engine, predictor.head, batch_tokens=tokens).answer(rows(60)))
    assert len({round(a["probability"], 7) for a in alone}) > 50  # so that swapped rows would be detected
    for one, other in zip(answers, alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_rows_are_consumed_in_chunks(predictor, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    consumed = 0

    def source():
        nonlocal consumed
        for row in rows(60):
            consumed += 1
            yield row

    answers = predictor.answer(source())
    assert consumed == 0
    next(answers)
    assert consumed == 8
    assert len(list(answers)) == 59
    assert list(predictor.answer([])) == []


@pytest.mark.parametrize("tokens", [1, 64, 10**6])
def test_loss_is_the_mean_over_rows_for_any_batching(predictor, alone, tokens):
    features = predictor.head.encode(rows(60))
    answers, loss = Predictor(predictor.engine, predictor.head, batch_tokens=tokens).score(features)
    expected = [-math.log(a["probabilities"][("bad", "good")[i % 2]]) for i, a in enumerate(alone)]
    assert loss == pytest.approx(sum(expected) / 60, abs=1e-5)
    assert [a["label"] for a in answers] == [a["label"] for a in alone]


def test_nan_weights_are_an_error(tiny_bert):
    head_config = HeadConfig(head="classify", labels=("bad", "good"), max_length=64)
    loaded = load_model(tiny_bert, "AutoModelForSequenceClassification", head_config=head_config, new_head=True)
    with torch.no_grad():
        loaded.model.classifier.weight[0, 0] = math.nan
    with pytest.raises(DataError, match="answers with NaN or infinite numbers: its weights are damaged"):
        list(make_predictor(loaded).answer(rows(3)))


def test_parts_follow_the_features_and_cancelled_ones_are_not_computed(predictor, alone):
    features = predictor.head.encode(rows(60))
    small = Predictor(predictor.engine, predictor.head, batch_tokens=40)
    cancelled = set(range(0, 60, 3))
    key = batch_key_of(small, None)
    queued = [QueuedRow(None, i, {}, key, 0.0, [feature], feature.length) for i, feature in enumerate(features)]
    answers = _run_rows(queued, lambda row: row.index in cancelled or row.length < 9, on_token=None)
    for answer, one in zip(answers, alone, strict=True):
        if answer:
            assert answer["label"] == one["label"]
    assert not all(answers) and all(
        answers[index] for index in range(60) if index not in cancelled and features[index].length >= 9
    )


def test_tokens_are_streamed_with_the_index_of_their_feature():
    loaded = load(str(families.folder("gpt2")))
    head = make_predictor(loaded, options={"sampling": {"max_new_tokens": 3}})
    texts = ["the red cat is warm and fine .", "who", "where is the car ?"]  # batches are sorted by length
    streamed = {}
    features = head.head.encode([{"prompt": text} for text in texts])
    answers = head.answer_features(features, lambda index, token: streamed.setdefault(index, []).append(token))
    for index, answer in enumerate(answers):
        assert loaded.tokenizer.decode(streamed[index]) == answer["text"]
