import random

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from hftool.heads.label_metrics import measure_labels, measure_numbers


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_two_labels_equal_scikit_learn(seed):
    rng = random.Random(seed)
    expected, predicted = [rng.choice([0, 1, 1]) for _ in range(40)], [rng.randrange(2) for _ in range(40)]
    assert measure_labels(["accuracy", "f1", "macro_f1", "mcc"], predicted, expected, 2) == {
        "accuracy": sklearn_metrics.accuracy_score(expected, predicted),
        "f1": sklearn_metrics.f1_score(expected, predicted),
        "macro_f1": sklearn_metrics.f1_score(expected, predicted, average="macro"),
        "mcc": sklearn_metrics.matthews_corrcoef(expected, predicted),
    }


def test_f1_of_more_than_two_labels_is_the_macro_f1():
    expected, predicted = [0, 1, 2, 2], [0, 2, 2, 1]
    assert measure_labels(["f1"], predicted, expected, 3)["f1"] == sklearn_metrics.f1_score(
        expected, predicted, average="macro"
    )


def test_label_never_predicted_counts_as_zero_without_a_warning():
    measured = measure_labels(["macro_f1", "f1", "mcc"], [0, 0], [0, 1], 2)
    assert measured == {"macro_f1": pytest.approx(1 / 3), "f1": 0.0, "mcc": 0.0}
    assert measure_labels(["f1", "mcc"], [0, 0], [0, 0], 2) == {"f1": 0.0, "mcc": 0.0}


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipy_including_ties(seed):
    rng = np.random.default_rng(seed)
    expected = rng.integers(0, 6, 60) / 2 + seed * 1000.0
    predicted = np.round(expected + rng.normal(size=60), seed % 3)
    measured = measure_numbers(["pearson", "spearman", "mean_absolute_error"], predicted.tolist(), expected.tolist())
    assert measured["pearson"] == pytest.approx(stats.pearsonr(predicted, expected).statistic, rel=1e-9)
    assert measured["spearman"] == pytest.approx(stats.spearmanr(predicted, expected).statistic, rel=1e-9)
    assert measured["mean_absolute_error"] == pytest.approx(sklearn_metrics.mean_absolute_error(expected, predicted))


@pytest.mark.parametrize("predicted", [[0.1, 0.1, 0.1], [7.0, 7.0, 7.0]])
def test_constant_predictions_have_correlation_zero(predicted):
    # the mean of three 0.1 is not exactly 0.1: rounding errors are not a correlation
    for pair in ((predicted, [1.0, 2.0, 4.0]), ([1.0, 2.0, 4.0], predicted)):
        assert measure_numbers(["pearson", "spearman"], *pair) == {"pearson": 0.0, "spearman": 0.0}
    assert measure_numbers(["pearson", "spearman"], [1.0], [2.0]) == {"pearson": 0.0, "spearman": 0.0}


def test_correlation_is_independent_of_the_unit():
    for unit in (1e-200, 1e200):
        assert measure_numbers(["pearson"], [0.0, unit, 2 * unit], [1.0, 2.0, 3.0])["pearson"] == pytest.approx(1.0)
