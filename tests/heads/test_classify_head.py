import numpy as np
import pytest
import torch

from hftool.errors import UsageError
from hftool.heads import get_head, head_class
from hftool.heads.classify.head import ClassifyHead, balanced_weights
from hftool.models import HeadConfig, load_tokenizer, read_model_config

HEAD_CONFIG = HeadConfig(head="classify", labels=("bad", "good", "odd"), max_length=16)


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return load_tokenizer(tiny_bert, read_model_config(tiny_bert))


@pytest.fixture
def head(tokenizer):
    return ClassifyHead(tokenizer, HEAD_CONFIG)


def test_get_head_returns_the_head(tokenizer):
    assert get_head(tokenizer, HEAD_CONFIG) == ClassifyHead(tokenizer, HEAD_CONFIG)
    with pytest.raises(UsageError, match=r"unknown head 'clasify'. Did you mean 'classify'\?"):
        head_class("clasify")


def test_features_equal_the_tokenizer_output(head, tokenizer):
    rows = [{"text": "a warm film", "label": 1}, {"text": "joy", "label": 0}]
    features = head.encode(rows)
    assert [f.input_ids.tolist() for f in features] == tokenizer([r["text"] for r in rows])["input_ids"]
    assert [f.target for f in features] == [1, 0] and [f.truncated for f in features] == [0, 0]
    assert features[0].input_ids.dtype == np.int32 and features[0].token_type_ids is None
    assert head.encode([]) == []


def test_long_rows_are_truncated_and_counted(head, tokenizer):
    text = "film " * 40
    [feature] = head.encode([{"text": text}])
    assert feature.length == 16 and feature.truncated == len(tokenizer(text)["input_ids"]) - 16
    assert feature.input_ids[-1] == tokenizer.sep_token_id


def test_the_longer_text_of_a_pair_is_truncated(head, tokenizer):
    [feature] = head.encode([{"text": "joy", "text_pair": "film " * 40}])
    whole = tokenizer("joy")["input_ids"]
    assert feature.input_ids[: len(whole)].tolist() == whole
    assert feature.token_type_ids.tolist() == [0] * len(whole) + [1] * (16 - len(whole))


@pytest.mark.parametrize(("limit", "overhead", "row"), [(1, 2, {"text": "joy"}), (2, 3, {"text": "joy", "text_pair": "joy"})])
def test_limit_without_room_for_text_is_refused(tokenizer, limit, overhead, row):
    """The tokenizers library does not truncate to such a limit, so the row would exceed it."""
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", labels=("a", "b"), max_length=limit))
    with pytest.raises(UsageError, match=f"max_length must be over {overhead} for this model, not {limit}"):
        head.encode([row])


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_is_padded_on_the_side_of_the_family(head, tokenizer, side):
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        rows = [{"text": "a warm film", "text_pair": "joy", "label": 2}, {"text": "joy", "text_pair": "a film", "label": 0}]
        batch = head.collate(head.encode(rows))
        expected = tokenizer([r["text"] for r in rows], [r["text_pair"] for r in rows], padding=True, return_tensors="pt")
    finally:
        tokenizer.padding_side = before
    for key in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(batch[key], expected[key]), key
    assert batch["labels"].tolist() == [2, 0]


def test_batch_without_labels(head):
    assert set(head.collate(head.encode([{"text": "joy"}]))) == {"input_ids", "attention_mask"}


def test_class_weights_sum_the_weighted_loss_and_count_rows(tokenizer):
    """The sum is weighted, the count is not: torch's weighted mean could not be added up over micro-batches."""
    torch.manual_seed(0)
    outputs, labels = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 0, 1, 0])
    weights = balanced_weights(labels.tolist(), 3)
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", labels=("a", "b", "c"), class_weights=weights))
    mask = torch.ones(7, 1)
    total, count = head.loss({"logits": outputs}, {"labels": labels, "attention_mask": mask})
    reference = torch.nn.functional.cross_entropy(outputs, labels, weight=torch.tensor(weights), reduction="sum")
    assert count == 7 and torch.equal(total, reference)
    assert sum(weights[i] for i in labels) == pytest.approx(7)  # the mean weight is 1, so the learning rate keeps its scale
    parts = [
        head.loss({"logits": outputs[a:b]}, {"labels": labels[a:b], "attention_mask": mask[a:b]}) for a, b in ((0, 3), (3, 7))
    ]
    assert float(sum(p[0] for p in parts)) == pytest.approx(float(total)) and sum(p[1] for p in parts) == count


def test_balanced_weights_equal_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 7 + [1] * 2 + [2]
    reference = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=np.array(labels))
    assert balanced_weights(labels, 3) == pytest.approx(reference.tolist())
    assert balanced_weights([0, 0], 2) == (0.5, 0.0)


def test_answers_have_names_and_probabilities(head):
    outputs = {"logits": torch.tensor([[0.0, 2.0, 1.0], [500.0, -500.0, 0.0]]), "attention_mask": torch.ones(2, 1)}
    answers = head.decode(outputs, [])
    assert [a["label"] for a in answers] == ["good", "bad"]
    assert list(answers[0]["probabilities"]) == ["bad", "good", "odd"]
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["probability"] == max(answer["probabilities"].values())
    assert head.metrics().best == "accuracy" and head.metrics().higher_is_better


def test_regression_answers_a_score_and_has_squared_error_loss(tokenizer):
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", problem_type="regression", label_range=(0.0, 5.0)))
    outputs = {"logits": torch.tensor([[1.0], [4.5]]), "attention_mask": torch.ones(2, 1)}
    assert head.decode(outputs, []) == [{"score": 1.0}, {"score": 4.5}]
    total, count = head.loss(outputs, {"labels": torch.tensor([0.5, 4.0]), "attention_mask": torch.ones(2, 1)})
    assert (float(total), count) == (0.5, 2)
    assert head.metrics().names == ("mean_absolute_error", "pearson", "spearman") and head.metrics().report == "regression"
    assert not head.metrics().rises


def test_token_logits_are_averaged_over_the_row_without_padding(head):
    tokens = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 4.0, 0.0], [99.0, 0.0, 0.0]]])  # the third token is padding
    mask = torch.tensor([[1, 1, 0]])
    plain = head.decode({"logits": torch.tensor([[0.0, 3.0, 0.0]]), "attention_mask": torch.ones(1, 1)}, [])
    assert head.decode({"logits": tokens, "attention_mask": mask}, []) == plain


def test_metrics_of_the_task_override_those_of_the_head(tokenizer):
    head_config = HeadConfig(head="classify", labels=("a", "b"), measures=("mcc", "accuracy"))
    assert ClassifyHead(tokenizer, head_config).metrics().best == "mcc"
