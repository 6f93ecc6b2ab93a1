"""The report of an evaluation, and the rows that went wrong, by the kind of answers that a head gives."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hftool.data.readers.tables import Row
from hftool.heads.answer.report import answers_report, missed_answers
from hftool.heads.classify.report import classification_report, distances, missed_labels, regression_report
from hftool.heads.protocol import Answer, Metrics
from hftool.heads.tag.report import missed_tags, tagging_report
from hftool.heads.text_report import poor_texts, texts_report

Report = Callable[[Sequence[Answer], Sequence[Row], Metrics, Sequence[str]], dict[str, Any]]
Errors = Callable[[Sequence[Answer], Sequence[Row], Sequence[int], Sequence[str]], list[dict[str, Any]]]


def perplexity(loss: float) -> float:
    """e to the loss (a token); the largest number there is where that is too large, as JSON has no infinity."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else sys.float_info.max


def _no_details(answers: Sequence[Answer], rows: Sequence[Row], metrics: Metrics, labels: Sequence[str]) -> dict[str, Any]:
    return {}


def _no_rows(
    answers: Sequence[Answer], rows: Sequence[Row], numbers: Sequence[int], labels: Sequence[str]
) -> list[dict[str, Any]]:
    return []


REPORTS: dict[str, Report] = {
    "classification": classification_report,
    "regression": regression_report,
    "tagging": tagging_report,
    "answers": answers_report,
    "texts": texts_report,
    "language": _no_details,
}
GIVEN = ("label", "tags", "answer", "text")  # what an answer comes down to: the first of these parts that it has
WANTED = ("label", "tags", "answers", "target")
ERRORS: dict[str, Errors] = {
    "classification": missed_labels,
    "regression": distances,
    "tagging": missed_tags,
    "answers": missed_answers,
    "texts": poor_texts,
    "language": _no_rows,
}


def make_report(
    answers: Sequence[Answer], rows: Sequence[Row], metrics: Metrics, labels: Sequence[str], loss: float
) -> dict[str, Any]:
    """The report that a head asks for by `metrics.report`: the number of rows, each of `metrics.names` as a number, the loss,
    and what else belongs to the kind. A language model has no answers to measure, but its loss and its perplexity."""
    names = tuple(name for name in metrics.names if name != "loss")
    details = REPORTS[metrics.report](answers, rows, replace(metrics, names=names), labels)
    report = {"rows": len(rows), **details, **_only_answer(answers, rows), "loss": loss}
    return {**report, "perplexity": perplexity(loss)} if metrics.report == "language" else report


def _only_answer(answers: Sequence[Answer], rows: Sequence[Row]) -> dict[str, str]:
    """The answer of all rows under "only_answer", where it is one although the expected ones differ."""
    given = {_word(answer, GIVEN) for answer in answers[: len(rows)]}
    wanted = {_word(row, WANTED) for row in rows}
    if len(given) != 1 or len(wanted) < 2 or None in given:
        return {}
    return {"only_answer": str(given.pop())}


def _word(row: Mapping[str, Any], parts: Sequence[str]) -> str | None:
    """The first of these parts that a row or an answer has, as a text; of tags the one that all words have."""
    part = next((row[part] for part in parts if part in row), None)
    if isinstance(part, (list, tuple)) and parts == GIVEN:
        return str(part[0]) if len(set(part)) == 1 else repr(part)
    return None if part is None else str(part)


def error_rows(
    answers: Sequence[Answer], rows: Sequence[Row], numbers: Sequence[int], metrics: Metrics, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows that went wrong, worst first, for errors.jsonl: each with its number, what was expected and what was answered.

    Where right and wrong are a matter of degree, all rows; none where nothing is answered.
    """
    return ERRORS[metrics.report](answers, rows, numbers, labels)
