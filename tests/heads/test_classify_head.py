import numpy as np
import pytest
import torch

from hftool.errors import UsageError
from hftool.heads import get_head, head_class
from hftool.heads.classify.head import ClassifyHead, balanced_weights
from hftool.models import HeadConfig, load_tokenizer, read_config

HEAD_CONFIG = HeadConfig(head="classify", labels=("bad", "good", "odd"), max_length=16)


@pytest.fixture(scope="module")
def tokenizer(tiny_bert):
    return load_tokenizer(tiny_bert, read_config(tiny_bert))


@pytest.fixture
def head(tokenizer):
    return ClassifyHead(tokenizer, HEAD_CONFIG)


def test_a_head_by_name(tokenizer):
    assert get_head(tokenizer, HEAD_CONFIG) == ClassifyHead(tokenizer, HEAD_CONFIG)
    with pytest.raises(UsageError, match=r"unknown head 'clasify'. Did you mean 'classify'\?"):
        head_class("clasify")


def test_features_are_what_the_tokenizer_gives(head, tokenizer):
    rows = [{"text": "a warm film", "label": 1}, {"text": "joy", "label": 0}]
    features = head.encode(rows)
    assert [f.input_ids.tolist() for f in features] == tokenizer([r["text"] for r in rows])["input_ids"]
    assert [f.target for f in features] == [1, 0] and [f.cut for f in features] == [0, 0]
    assert features[0].input_ids.dtype == np.int32 and features[0].segments is None
    assert head.encode([]) == []


def test_long_rows_are_cut_and_counted(head, tokenizer):
    text = "film " * 40
    [feature] = head.encode([{"text": text}])
    assert feature.length == 16 and feature.cut == len(tokenizer(text)["input_ids"]) - 16
    assert feature.input_ids[-1] == tokenizer.sep_token_id


def test_of_a_pair_the_longer_text_is_cut(head, tokenizer):
    [feature] = head.encode([{"text": "joy", "text_pair": "film " * 40}])
    whole = tokenizer("joy")["input_ids"]
    assert feature.input_ids[: len(whole)].tolist() == whole
    assert feature.segments.tolist() == [0] * len(whole) + [1] * (16 - len(whole))


@pytest.mark.parametrize(("limit", "least", "row"), [(1, 2, {"text": "joy"}), (2, 3, {"text": "joy", "text_pair": "joy"})])
def test_a_limit_that_holds_no_text_is_refused(tokenizer, limit, least, row):
    """The tokenizers library cuts nothing then, and the model would be given a row longer than it was promised."""
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", labels=("a", "b"), max_length=limit))
    with pytest.raises(UsageError, match=f"max_length must be over {least} for this model, not {limit}"):
        head.encode([row])


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_is_padded_on_the_side_of_the_family(head, tokenizer, side):
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


def test_a_batch_without_labels_has_none(head):
    assert set(head.collate(head.encode([{"text": "joy"}]))) == {"input_ids", "attention_mask"}


def test_class_weights_are_torchs_summed_and_counted_by_rows(tokenizer):
    """Not torch's weighted mean, which divides by the weights of a batch: parts of a step could not be added then."""
    torch.manual_seed(0)
    outputs, labels = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 0, 1, 0])
    weights = balanced_weights(labels.tolist(), 3)
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", labels=("a", "b", "c"), class_weights=weights))
    mask = torch.ones(7, 1)
    total, count = head.loss({"logits": outputs}, {"labels": labels, "attention_mask": mask})
    theirs = torch.nn.functional.cross_entropy(outputs, labels, weight=torch.tensor(weights), reduction="sum")
    assert count == 7 and torch.equal(total, theirs)
    assert sum(weights[i] for i in labels) == pytest.approx(7)  # the mean weight is 1: the learning rate keeps its meaning
    parts = [
        head.loss({"logits": outputs[a:b]}, {"labels": labels[a:b], "attention_mask": mask[a:b]}) for a, b in ((0, 3), (3, 7))
    ]
    assert float(sum(p[0] for p in parts)) == pytest.approx(float(total)) and sum(p[1] for p in parts) == count


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 7 + [1] * 2 + [2]
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=np.array(labels))
    assert balanced_weights(labels, 3) == pytest.approx(theirs.tolist())
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


def test_a_number_is_answered_and_its_squared_distance_is_learnt(tokenizer):
    head = ClassifyHead(tokenizer, HeadConfig(head="classify", problem_type="regression", label_range=(0.0, 5.0)))
    outputs = {"logits": torch.tensor([[1.0], [4.5]]), "attention_mask": torch.ones(2, 1)}
    assert head.decode(outputs, []) == [{"score": 1.0}, {"score": 4.5}]
    total, count = head.loss(outputs, {"labels": torch.tensor([0.5, 4.0]), "attention_mask": torch.ones(2, 1)})
    assert (float(total), count) == (0.5, 2)
    assert head.metrics().names == ("mean_absolute_error", "pearson", "spearman") and head.metrics().report == "regression"
    assert not head.metrics().rises


def test_scores_of_tokens_count_for_the_row_as_their_mean_without_padding(head):
    tokens = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 4.0, 0.0], [99.0, 0.0, 0.0]]])  # the third is padding
    mask = torch.tensor([[1, 1, 0]])
    plain = head.decode({"logits": torch.tensor([[0.0, 3.0, 0.0]]), "attention_mask": torch.ones(1, 1)}, [])
    assert head.decode({"logits": tokens, "attention_mask": mask}, []) == plain


def test_the_metrics_of_the_task_come_before_those_of_the_head(tokenizer):
    head_config = HeadConfig(head="classify", labels=("a", "b"), measures=("mcc", "accuracy"))
    assert ClassifyHead(tokenizer, head_config).metrics().best == "mcc"
