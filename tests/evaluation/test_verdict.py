"""What is said of a finished run whose figures should make its user think, and of no other."""

import pytest

from hftool.evaluation.report import make_report
from hftool.evaluation.verdict import verdicts
from hftool.heads.protocol import Metrics

ACCURACY = Metrics(("accuracy", "macro_f1"), higher_is_better=True, report="classification")
F1 = Metrics(("macro_f1", "accuracy"), higher_is_better=True, report="classification")
ERROR = Metrics(("mean_absolute_error", "pearson"), higher_is_better=True, report="regression")
TAGS = Metrics(("entity_f1", "precision", "recall", "accuracy"), higher_is_better=True, report="tagging")
ANSWERS = Metrics(("f1", "exact_match"), higher_is_better=True, report="answers")
TEXTS = Metrics(("rougeL",), higher_is_better=True, report="texts")
EVEN = [{"label": i % 2} for i in range(10)]
RARE = [{"label": int(i == 0)} for i in range(10)]


def said(metrics, answers, rows, history=(), labels=("no", "yes")):
    return verdicts(make_report(answers, rows, metrics, labels, 0.5), metrics, history)


def labels_of(*ids):
    return [{"label": ("no", "yes")[i], "probability": 1.0, "probabilities": {"no": 0.5, "yes": 0.5}} for i in ids]


def evaluations(name, *pairs):
    return [{name: value, "loss": loss} for value, loss in pairs]


POOR = {
    "one class": (ACCURACY, labels_of(*[0] * 10), EVEN, "all 10 validation rows are answered 'no'"),
    "the rare class is missed": (F1, labels_of(*[0] * 10), RARE, "--class-weights balanced"),
    "no better than the majority": (ACCURACY, labels_of(1, 1, *[0] * 8), EVEN, "always answering 'no' has 0.5"),
    "worse than the majority": (ACCURACY, labels_of(0, 1, *[0] * 8), RARE, "accuracy 0.8, and always answering 'no' has 0.9"),
    "numbers": (ERROR, [{"score": 5.0 - i} for i in range(5)], [{"label": float(i)} for i in range(5)], "answering 2 has 1.2"),
    "tags": (
        TAGS,
        [{"tags": ["O", "O"]}] * 3,
        [{"tokens": ["a", "b"], "tags": [0, 1]}, *[{"tokens": ["a", "b"], "tags": [0, 0]}] * 2],
        "are answered 'O'",
    ),
    "answers": (
        ANSWERS,
        [{"answer": ""}] * 2,
        [
            {"answers": {"text": ["a"]}, "context": "a", "question": "b"},
            {"answers": {"text": []}, "context": "a", "question": "b"},
        ],
        "are answered nothing",
    ),
    "texts": (TEXTS, [{"text": "a"}] * 2, [{"source": "x", "target": "a"}, {"source": "y", "target": "b"}], "are answered 'a'"),
}


@pytest.mark.parametrize("name", POOR)
def test_a_model_that_has_learnt_nothing_is_told_of(name):
    metrics, answers, rows, what = POOR[name]
    (sentence,) = said(metrics, answers, rows, labels=("O", "B-PER") if name == "tags" else ("no", "yes"))
    assert what in sentence and "--epochs" in sentence


GOOD = {
    "right": (ACCURACY, labels_of(*[0, 1] * 5), EVEN),
    "better than the majority": (F1, labels_of(1, 1, *[0] * 8), RARE),
    "one row": (ACCURACY, labels_of(0), EVEN[:1]),
    "one class in the data": (ACCURACY, labels_of(0, 0), [{"label": 0}] * 2),
    "numbers": (ERROR, [{"score": float(i)} for i in range(5)], [{"label": float(i)} for i in range(5)]),
}


@pytest.mark.parametrize("name", [name for name in GOOD if name not in ("one row", "one class in the data")])
def test_nothing_is_said_of_a_good_model(name):
    assert said(*GOOD[name]) == []


@pytest.mark.parametrize("name", ["one row", "one class in the data"])
def test_rows_of_one_class_do_not_show_that_one_is_answered(name):
    assert all("are answered" not in sentence for sentence in said(*GOOD[name]))


RIGHT = labels_of(*[0, 1] * 5)


@pytest.mark.parametrize(
    ("history", "what"),
    [
        (evaluations("accuracy", (0.5, 0.7), (0.8, 0.6)), "accuracy still improved at the last evaluation, from 0.5 to 0.8"),
        (evaluations("accuracy", (0.8, 0.7), (0.5, 0.6), (0.9, 0.6)), "from 0.8 to 0.9"),
        (evaluations("accuracy", (0.8, 0.7), (0.8, 0.6)), ""),
        (evaluations("accuracy", (0.8, 0.7), (0.9, 0.6), (0.7, 0.5)), ""),
        (evaluations("accuracy", (0.8, 0.7)), ""),
        ([], ""),
    ],
)
def test_a_metric_that_still_improved_is_told_of(history, what):
    found = said(ACCURACY, RIGHT, EVEN, history)
    assert (len(found) == 1 and what in found[0]) if what else found == []


def test_of_a_poor_model_the_loss_that_still_fell_is_told_of():
    history = evaluations("accuracy", (0.5, 0.7), (0.5, 0.6), (0.5, 0.55))
    assert (
        "the loss still fell at the last evaluation, from 0.6 to 0.55" in said(ACCURACY, labels_of(*[0] * 10), EVEN, history)[1]
    )
    assert len(said(ACCURACY, labels_of(*[0] * 10), EVEN, history[::-1])) == 1
