"""Warnings about the metrics of a finished run: one answer for all rows, no better than a constant, or still improving."""

from collections.abc import Mapping, Sequence
from typing import Any

from hftool.heads.protocol import Metrics

BASELINES = {
    "majority_baseline": ("label", "always answering"),
    "constant_baseline": ("labels", "always answering"),
    "median_baseline": ("score", "always answering"),
}
LOSS_IMPROVED = 0.99  # a loss below this share of the lowest one before still improves
TRAIN_LONGER = "more --epochs, or another --lr"


def verdicts(measured: Mapping[str, Any], metrics: Metrics, history: Sequence[Mapping[str, float]]) -> list[str]:
    """Warnings about a finished run, from the report on its validation split and its evaluations in order.

    Returns:
        A sentence for each fault, with a remedy; none for a model that is better than its baseline and has stopped improving.
    """
    found = list(_constant(measured, metrics) or _baseline(measured, metrics))
    return [*found, *_unfinished(metrics, history, is_poor=bool(found))]


def _constant(measured: Mapping[str, Any], metrics: Metrics) -> list[str]:
    answer = measured.get("only_answer")
    if answer is None:
        return []
    shown = f"'{answer}'" if answer else "nothing"
    counts = [row["rows"] for row in measured.get("by_class", {}).values()]
    weights = "--class-weights balanced, " if counts and min(counts) * len(counts) < sum(counts) / 2 else ""
    return [f"all {measured['rows']} validation rows are answered {shown}: try {weights}{TRAIN_LONGER}"]


def _baseline(measured: Mapping[str, Any], metrics: Metrics) -> list[str]:
    """A warning where the deciding metric is no better than that of the best constant answer."""
    name, found = metrics.best, []
    for key, (part, what) in BASELINES.items():
        baseline = measured.get(key)
        if baseline and name in baseline and not metrics.is_better(measured[name], baseline[name]):
            constant = baseline[part]
            constant = ", ".join(constant) if isinstance(constant, list) else constant
            shown = f"{constant:.6g}" if isinstance(constant, float) else f"'{constant}'"
            figures = f"{name} {measured[name]:.4g}, and {what} {shown} has {baseline[name]:.4g}"
            found.append(f"no better than a constant answer: {figures}: try {TRAIN_LONGER}")
    return found


def _unfinished(metrics: Metrics, history: Sequence[Mapping[str, float]], *, is_poor: bool) -> list[str]:
    """A warning where the last evaluation was the best, or for a poor model, where its loss still decreased."""
    name = metrics.best
    values, losses = ([one[key] for one in history if key in one] for key in (name, "loss"))
    if len(values) < 2:
        return []
    before = max(values[:-1]) if metrics.rises else min(values[:-1])
    if metrics.is_better(values[-1], before):
        return [f"{name} still improved at the last evaluation, from {before:.4g} to {values[-1]:.4g}: more --epochs may help"]
    if is_poor and len(losses) == len(values) and losses[-1] < LOSS_IMPROVED * min(losses[:-1]):
        return [f"the loss still fell at the last evaluation, from {min(losses[:-1]):.4g} to {losses[-1]:.4g}: more --epochs"]
    return []
