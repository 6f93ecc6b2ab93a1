"""hftool/evaluation/verdict.py: a run with poor metrics gets a notice, a good one does not."""

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


def notices(metrics, answers, rows, history=(), labels=("no", "yes")):
    return verdicts(make_report(answers, rows, metrics, labels, 0.5), metrics, history)


def label_answers(*ids):
    return [{"label": ("no", "yes")[i], "probability": 1.0, "probabilities": {"no": 0.5, "yes": 0.5}} for i in ids]


def evaluations(name, *pairs):
    return [{name: value, "loss": loss} for value, loss in pairs]


POOR = {
    "one class": (ACCURACY, label_answers(*[0] * 10), EVEN, "all 10 validation rows are answered 'no'"),
    "the rare class is missed": (F1, label_answers(*[0] * 10), RARE, "--class-weights balanced"),
    "no better than the majority": (ACCURACY, label_answers(1, 1, *[0] * 8), EVEN, "always answering 'no' has 0.5"),
    "worse than the majority": (
        ACCURACY,
        label_answers(0, 1, *[0] * 8),
        RARE,
        "accuracy 0.8, and always answering 'no' has 0.9",
    ),
    "numbers": (ERROR, [{"score": 5.0 - i} for i in range(5)], [{"label": float(i)} for i in range(5)], "answering 2 has 1.2"),
    "tags": (
        TAGS,
        [{"tags": ["O", "O"]}] * 3,
        [{"tokens": ["a", "b"], "tags": [0, 1]}, *[{"tokens": ["a", "b"], "tags": [0, 0]}] * 2],
        "are answered 'O'",
    ),
    "the same tags": (
        TAGS,
        [{"tags": ["O", "B-X"]}] * 3,
        [{"tokens": ["a", "b"], "tags": [0, 1]}, *[{"tokens": ["a", "b"], "tags": [0, 0]}] * 2],
        "are answered 'O, B-X'",
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
def test_model_that_learned_nothing_is_reported(name):
    metrics, answers, rows, expected = POOR[name]
    (sentence,) = notices(metrics, answers, rows, labels=("O", "B-PER") if name == "tags" else ("no", "yes"))
    assert expected in sentence and "--epochs" in sentence


GOOD = {
    "right": (ACCURACY, label_answers(*[0, 1] * 5), EVEN),
    "better than the majority": (F1, label_answers(1, 1, *[0] * 8), RARE),
    "one row": (ACCURACY, label_answers(0), EVEN[:1]),
    "one class in the data": (ACCURACY, label_answers(0, 0), [{"label": 0}] * 2),
    "numbers": (ERROR, [{"score": float(i)} for i in range(5)], [{"label": float(i)} for i in range(5)]),
}


@pytest.mark.parametrize("name", [name for name in GOOD if name not in ("one row", "one class in the data")])
def test_good_model_gets_no_notice(name):
    assert notices(*GOOD[name]) == []


@pytest.mark.parametrize("name", ["one row", "one class in the data"])
def test_constant_predictions_are_not_reported_for_rows_of_one_class(name):
    assert all("are answered" not in sentence for sentence in notices(*GOOD[name]))


RIGHT = label_answers(*[0, 1] * 5)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (evaluations("accuracy", (0.5, 0.7), (0.8, 0.6)), "accuracy still improved at the last evaluation, from 0.5 to 0.8"),
        (evaluations("accuracy", (0.8, 0.7), (0.5, 0.6), (0.9, 0.6)), "from 0.8 to 0.9"),
        (evaluations("accuracy", (0.8, 0.7), (0.8, 0.6)), ""),
        (evaluations("accuracy", (0.8, 0.7), (0.9, 0.6), (0.7, 0.5)), ""),
        (evaluations("accuracy", (0.8, 0.7)), ""),
        ([], ""),
    ],
)
def test_metric_that_still_improved_is_reported(history, expected):
    found = notices(ACCURACY, RIGHT, EVEN, history)
    assert (len(found) == 1 and expected in found[0]) if expected else found == []


def test_loss_that_still_decreased_is_reported_for_a_poor_model():
    history = evaluations("accuracy", (0.5, 0.7), (0.5, 0.6), (0.5, 0.55))
    assert (
        "the loss still fell at the last evaluation, from 0.6 to 0.55"
        in notices(ACCURACY, label_answers(*[0] * 10), EVEN, history)[1]
    )
    assert len(notices(ACCURACY, label_answers(*[0] * 10), EVEN, history[::-1])) == 1
