import random

import pytest
from sklearn import metrics as theirs

from hftool.evaluation.metrics import measure
from hftool.evaluation.report import classification_report, error_rows, make_report
from hftool.heads.protocol import Metrics

LABELS = ("bad", "good", "odd")
METRICS = Metrics(("accuracy", "macro_f1"), higher_is_better=True, report="classification")


def answer(label, probability=0.8):
    rest = (1 - probability) / 2
    return {
        "label": label,
        "probability": probability,
        "probabilities": {n: probability if n == label else rest for n in LABELS},
    }


@pytest.mark.parametrize("seed", range(5))
def test_everything_equals_scikit_learn(seed):
    rng = random.Random(seed)
    expected, predicted = [rng.choice([0, 0, 1, 2]) for _ in range(50)], [rng.randrange(3) for _ in range(50)]
    report = classification_report([answer(LABELS[p]) for p in predicted], expected, LABELS, METRICS)
    assert report["accuracy"] == theirs.accuracy_score(expected, predicted)
    assert report["macro_f1"] == theirs.f1_score(expected, predicted, average="macro")
    table = theirs.classification_report(expected, predicted, target_names=LABELS, output_dict=True)
    for name in LABELS:
        row = table[name]
        assert report["by_class"][name] == {
            "precision": row["precision"],
            "recall": row["recall"],
            "f1": row["f1-score"],
            "rows": row["support"],
        }
    assert report["confusion"]["matrix"] == theirs.confusion_matrix(expected, predicted).tolist()
    assert report["rows"] == 50


def test_the_matrix_has_a_row_for_each_true_label():
    report = classification_report([answer("good")] * 3 + [answer("odd")], [0, 0, 0, 2], LABELS, METRICS)
    assert report["confusion"] == {"labels": list(LABELS), "matrix": [[0, 3, 0], [0, 0, 0], [0, 0, 1]]}
    assert report["majority_baseline"] == {"label": "bad", "accuracy": 0.75}
    assert report["accuracy"] == 0.25
    assert report["by_class"]["good"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}


def test_a_label_that_is_never_predicted_counts_as_zero_without_a_warning():
    assert measure(["macro_f1"], [0, 0], [0, 1]) == {"macro_f1": pytest.approx(1 / 3)}


def test_the_report_that_a_head_asks_for_has_the_loss():
    assert make_report([answer("bad")], [0], METRICS, LABELS, 0.25)["loss"] == 0.25


def test_errors_come_worst_first_with_their_lines():
    rows = [{"text": f"t{i}", "label": 0} for i in range(4)]
    rows[3]["text_pair"] = "p"
    answers = [answer("good", 0.5), answer("bad"), answer("good", 0.9), answer("odd", 0.7)]
    wrong = error_rows(rows, [2, 3, 4, 5], answers, LABELS)
    assert [(e["row"], e["text"], e["expected"], e["answered"]) for e in wrong] == [
        (4, "t2", "bad", "good"),
        (5, "t3", "bad", "odd"),
        (2, "t0", "bad", "good"),
    ]
    assert wrong[0]["probability"] == 0.9 and wrong[0]["probability_of_expected"] == pytest.approx(0.05)
    assert wrong[1]["text_pair"] == "p" and "text_pair" not in wrong[0]
