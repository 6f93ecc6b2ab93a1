"""Several labels a row under the classify head: loss, answers, margins, thresholds and the report."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_recall_curve, precision_recall_fscore_support

from hftool.evaluation.report import error_rows, make_report
from hftool.evaluation.thresholds import best_thresholds
from hftool.evaluation.verdict import verdicts
from hftool.heads.classify import render, schema
from hftool.heads.classify.head import ClassifyHead, indicators, positive_weights
from hftool.heads.classify.multi_label_report import constant_labels, predictions_and_references
from hftool.heads.margins import threshold_margin
from hftool.heads.protocol import Feature
from hftool.models import HeadConfig

NAMES = ("anger", "joy", "wonder")
CONFIG = HeadConfig(head="classify", labels=NAMES, problem_type="multi_label_classification", labels_sep="|")
HEAD = ClassifyHead(type("Tokenizer", (), {"pad_token_id": 0, "padding_side": "right"})(), CONFIG)


def answer(*chances, thresholds=(0.5, 0.5, 0.5)):
    over = [name for name, chance, least in zip(NAMES, chances, thresholds, strict=True) if chance >= least]
    return {"labels": over, "probabilities": dict(zip(NAMES, chances, strict=True))}


def random_answers(count=40):
    rng = np.random.default_rng(0)
    answers = [answer(*chances) for chances in rng.random((count, 3)).tolist()]
    rows = [{"text": f"text {i}", "label": tuple(np.flatnonzero(rng.random(3) < 0.4).tolist())} for i in range(count)]
    return answers, rows


@pytest.mark.parametrize("weights", [(), (3.0, 1.0, 0.5)])
def test_loss_is_that_of_torch_and_adds_up_over_batches(weights):
    torch.manual_seed(0)
    head = ClassifyHead(HEAD.tokenizer, HeadConfig(**{**vars(CONFIG), "class_weights": weights}))
    logits, sets = torch.randn(7, 3), [(0,), (), (1, 2), (0, 1, 2), (2,), (1,), ()]
    features = [Feature(np.array([1, 2]), i, target=ids) for i, ids in enumerate(sets)]
    batch = head.collate(features)
    assert batch["labels"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
    total, count = head.loss({"logits": logits}, batch)
    plain = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights) if weights else None)
    torch.testing.assert_close(total / count, plain(logits, batch["labels"]))
    parts = [head.loss({"logits": logits[a:b]}, head.collate(features[a:b])) for a, b in ((0, 2), (2, 7))]
    assert float(sum(one for one, _ in parts)) == pytest.approx(float(total), rel=1e-6) and sum(n for _, n in parts) == count


def test_weights_are_rows_without_a_label_for_each_row_with_it():
    assert positive_weights([(0,), (0, 1), (), (0, 2)], 4) == (1 / 3, 3.0, 3.0, 1.0)
    assert positive_weights([(0,), (0,)], 1) == (1.0,)  # every row has it


def test_answers_have_the_labels_over_their_thresholds():
    outputs = {"logits": torch.tensor([[2.0, -1.0, 0.0], [-1000.0, -1.0, -2.0]]), "attention_mask": torch.ones(2, 1)}
    first, second = HEAD.decode(outputs, [])
    assert first["labels"] == ["anger", "wonder"] and second["labels"] == [] and second["probabilities"]["anger"] == 0.0
    assert list(first["probabilities"].values()) == pytest.approx(torch.sigmoid(outputs["logits"][0].double()).tolist())
    head = ClassifyHead(None, HeadConfig(**{**vars(CONFIG), "label_thresholds": (0.9, 0.2, 0.5)}))
    assert [one["labels"] for one in head.decode(outputs, [])] == [["joy", "wonder"], ["joy"]]
    assert head.decision(first) == ("labels", "anger|wonder") and head.metrics().report == "multi_label"


def test_margin_is_the_distance_of_the_nearest_logit_to_its_threshold():
    """A row so near to a threshold is computed again in fp32, whatever the number format: see Predictor.join_rows."""
    head = ClassifyHead(None, HeadConfig(**{**vars(CONFIG), "label_thresholds": (0.5, 0.25, 0.75)}))
    logits = torch.tensor([[1.0, math.log(1 / 3) + 0.03, 4.0]])
    [found] = head.decode({"logits": logits, "attention_mask": torch.ones(1, 1)}, [])
    assert head.margin([found], found) == pytest.approx(0.03, abs=1e-6)
    assert threshold_margin([0.0, 1.0], [0.5, 0.5]) == math.inf


def test_figures_are_those_of_scikit_learn():
    answers, rows = random_answers()
    found = make_report(answers, rows, HEAD.metrics(), NAMES, 0.25)
    predicted, expected = map(np.array, predictions_and_references(answers, rows, NAMES))
    for kind in ("micro", "macro", "samples"):
        assert found[f"{kind}_f1"] == f1_score(expected, predicted, average=kind, zero_division=0)
    assert found["subset_accuracy"] == accuracy_score(expected, predicted) and found["loss"] == 0.25
    columns = np.array(precision_recall_fscore_support(expected, predicted, zero_division=0)).T.tolist()
    assert [list(row.values()) for row in found["by_class"].values()] == columns
    assert found["labels_a_row"] == {"expected": expected.sum() / 40, "answered": predicted.sum() / 40}


def test_baseline_is_the_best_constant_answer_and_a_poor_model_gets_a_verdict():
    sets = [(1,), (0, 1), (1, 2), (0, 1), ()]
    rows, expected = [{"text": "a", "label": ids} for ids in sets], indicators(sets, 3)
    scores = {}
    for number in range(1, 8):
        labels = [i for i in range(3) if number >> i & 1]
        scores[tuple(labels)] = f1_score(expected, np.tile(indicators([labels], 3), (5, 1)), average="micro")
    assert tuple(constant_labels(expected)) == max(scores, key=scores.get)
    assert constant_labels(indicators([(), ()], 3)) == []
    found = make_report([answer(0.1, 0.2, 0.3)] * 5, rows, HEAD.metrics(), NAMES, 1.0)
    assert found["constant_baseline"]["labels"] == ["anger", "joy"] and found["constant_baseline"]["micro_f1"] == max(
        scores.values()
    )
    assert verdicts(found, HEAD.metrics(), [])[0].startswith("all 5 validation rows are answered nothing: try")
    poor = make_report([answer(0.9, 0.2, 0.3)] * 4 + [answer(0.1, 0.2, 0.9)], rows, HEAD.metrics(), NAMES, 1.0)
    assert "always answering 'anger, joy' has" in verdicts(poor, HEAD.metrics(), [])[0]


def test_wrong_rows_come_worst_first_with_what_is_missing_and_extra():
    rows = [{"text": "a", "label": (0,)}, {"text": "b", "label": (1, 2)}, {"text": "c", "label": ()}]
    answers = [answer(0.4, 0.1, 0.2), answer(0.1, 0.9, 0.8), answer(0.0, 0.99, 0.7)]
    found = error_rows(answers, rows, [2, 3, 4], HEAD.metrics(), NAMES)
    assert [one["row"] for one in found] == [4, 2]
    assert found[0]["extra"] == ["joy", "wonder"] and found[1]["missing"] == ["anger"]
    assert found[1]["probability_of_expected"] == pytest.approx(0.4 * 0.9 * 0.8)
    assert list(found[1])[-1] == "text" and found[1]["expected"] == ["anger"] and found[1]["answered"] == []


def test_thresholds_have_the_best_f1_and_lie_between_probabilities():
    rng = np.random.default_rng(1)
    chances, expected = rng.random((60, 4)), (rng.random((60, 4)) < 0.3).astype(np.float32)
    expected[:, 3] = 0
    chances[:, 2] = np.where(expected[:, 2] > 0, 0.9, 0.2)
    found = best_thresholds(chances, expected)
    assert found[2] == found[3] == 0.5  # any of 0.2 to 0.9 does; no row has the label
    for i in range(3):
        precision, recall, _ = precision_recall_curve(expected[:, i], chances[:, i])
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(expected[:, i], chances[:, i] >= found[i]) == pytest.approx(best)
        assert np.abs(chances[:, i] - found[i]).min() > 0
    assert best_thresholds(np.array([[0.7], [0.9], [0.1]]), np.array([[0.0], [1.0], [0.0]])) == (pytest.approx(0.8),)
    assert best_thresholds(np.array([[0.02], [0.04]]), np.array([[1.0], [1.0]])) == (0.01,)


def test_lines_show_the_labels_over_their_thresholds():
    show = {
        terminal: lambda one, t=terminal, **k: render.line("a text", one, CONFIG, terminal=t, **k) for terminal in (True, False)
    }
    some, none = answer(0.6, 0.9, 0.1), answer(0.1, 0.2, 0.3)
    assert show[True](some) == "joy 0.9000  anger 0.6000  a text" and show[True](none) == "-  a text"
    assert show[False](some) == "joy|anger\t0.9000|0.6000\ta text" and show[False](none) == "\t\ta text"
    assert show[False](some, top_k=1) == "joy\t0.9000\ta text" and show[False](None) == "\t\t"


def test_reply_has_all_labels_and_marks_those_over_their_thresholds():
    reply = schema.reply_for(CONFIG)
    found = reply({"text": "a"}, answer(0.6, 0.9, 0.1), {})
    assert [(one["label"], one["selected"]) for one in found] == [("joy", True), ("anger", True), ("wonder", False)]
    assert reply({"text": "a"}, answer(0.6, 0.9, 0.1), {"top_k": 1}) == [{"label": "joy", "score": 0.9, "selected": True}]
    assert schema.reply_for(HeadConfig(head="classify", labels=("a", "b"))) is schema.reply
