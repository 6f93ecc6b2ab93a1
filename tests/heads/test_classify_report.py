import random

import pytest
from sklearn import metrics as sklearn_metrics

from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics

LABELS = ("bad", "good", "odd")
METRICS = Metrics(("accuracy", "macro_f1"), higher_is_better=True, report="classification")
NUMBERS = Metrics(("pearson", "spearman"), higher_is_better=True, report="regression")


def answer(label, probability=0.8):
    rest = (1 - probability) / 2
    return {
        "label": label,
        "probability": probability,
        "probabilities": {n: probability if n == label else rest for n in LABELS},
    }


def report_of(answers, expected, metrics=METRICS, labels=LABELS):
    return make_report(answers, [{"text": "t", "label": label} for label in expected], metrics, labels, 0.25)


@pytest.mark.parametrize("seed", range(5))
def test_report_equals_scikit_learn(seed):
    rng = random.Random(seed)
    expected, predicted = [rng.choice([0, 0, 1, 2]) for _ in range(50)], [rng.randrange(3) for _ in range(50)]
    report = report_of([answer(LABELS[p]) for p in predicted], expected)
    assert report["accuracy"] == sklearn_metrics.accuracy_score(expected, predicted)
    assert report["macro_f1"] == sklearn_metrics.f1_score(expected, predicted, average="macro")
    table = sklearn_metrics.classification_report(expected, predicted, target_names=LABELS, output_dict=True)
    for name in LABELS:
        row = table[name]
        assert report["by_class"][name] == {
            "precision": row["precision"],
            "recall": row["recall"],
            "f1": row["f1-score"],
            "rows": row["support"],
        }
    assert report["confusion"]["matrix"] == sklearn_metrics.confusion_matrix(expected, predicted).tolist()
    assert report["rows"] == 50


def test_confusion_matrix_has_a_row_for_each_true_label():
    report = report_of([answer("good")] * 3 + [answer("odd")], [0, 0, 0, 2])
    assert report["confusion"] == {"labels": list(LABELS), "matrix": [[0, 3, 0], [0, 0, 0], [0, 0, 1]]}
    assert report["majority_baseline"] == {"label": "bad", "accuracy": 0.75, "macro_f1": pytest.approx(3 / 7)}
    assert report["accuracy"] == 0.25
    assert report["by_class"]["good"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}


def test_f1_reports_include_the_f1_of_the_majority_baseline():
    metrics = Metrics(("f1", "accuracy"), higher_is_better=True, report="classification")
    answers = [{"label": name} for name in ("no", "yes", "yes", "no")]
    report = report_of(answers, [1, 1, 1, 0], metrics, ("no", "yes"))
    assert report["f1"] == pytest.approx(0.8)  # recall 2/3, precision 1
    assert report["majority_baseline"] == {"label": "yes", "accuracy": 0.75, "f1": pytest.approx(6 / 7)}


def test_wrong_labels_are_sorted_by_confidence_with_their_lines():
    rows = [{"text": f"t{i}", "label": 0} for i in range(4)]
    rows[3]["text_pair"] = "p"
    answers = [answer("good", 0.5), answer("bad"), answer("good", 0.9), answer("odd", 0.7)]
    wrong = error_rows(answers=answers, rows=rows, numbers=[2, 3, 4, 5], metrics=METRICS, labels=LABELS)
    assert [(e["row"], e["text"], e["expected"], e["answered"]) for e in wrong] == [
        (4, "t2", "bad", "good"),
        (5, "t3", "bad", "odd"),
        (2, "t0", "bad", "good"),
    ]
    assert wrong[0]["probability"] == 0.9 and wrong[0]["probability_of_expected"] == pytest.approx(0.05)
    assert wrong[1]["text_pair"] == "p" and "text_pair" not in wrong[0]
    assert next(iter(wrong[0])) == "row"


def test_regression_report_has_the_mean_absolute_error():
    report = report_of([{"score": 1.0}, {"score": 2.0}, {"score": 6.0}], [1.0, 3.0, 4.0], NUMBERS, ())
    assert report == {
        "rows": 3,
        "pearson": pytest.approx(3**0.5 / 2),
        "spearman": 1.0,
        "mean_absolute_error": 1.0,
        "median_baseline": {"score": 3.0, "pearson": 0.0, "spearman": 0.0, "mean_absolute_error": 1.0},
        "loss": 0.25,
    }


def test_regression_rows_are_sorted_by_absolute_error():
    rows = [{"text": "a", "text_pair": "b", "label": 3.0}, {"text": "c", "text_pair": "d", "label": 1.0}]
    assert error_rows([{"score": 2.5}, {"score": 4.0}], rows, [7, 8], NUMBERS, ()) == [
        {"row": 8, "expected": 1.0, "answered": 4.0, "text": "c", "text_pair": "d"},
        {"row": 7, "expected": 3.0, "answered": 2.5, "text": "a", "text_pair": "b"},
    ]
