"""The report of an evaluation and the rows with errors, by the kind of report that a head names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.heads.protocol import Answers, Metrics
from hftool.registry.heads import report_module

# the part of an answer and of a row that decides: the first of these that it has
GIVEN = ("label", "tags", "answer", "text")
EXPECTED = ("label", "tags", "answers", "target")


def make_report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Measure answers, one for each row, against the expected ones; without answers where the metrics need only the loss.

    Returns:
        The number of rows, each of `metrics.names` as a number, what else belongs to the kind, and the loss.
    """
    names = tuple(name for name in metrics.names if name != "loss")
    details = report_module(metrics.report).report(answers, rows, replace(metrics, names=names), labels, loss)
    return {"rows": len(rows), **details, **_only_answer(answers, rows), "loss": loss}


def _only_answer(answers: Answers, rows: Rows) -> dict[str, str]:
    """The answer to all rows under "only_answer", where it is the same although the expected ones differ."""
    given = {_deciding(answer, GIVEN) for answer in answers[: len(rows)]}
    expected = {_deciding(row, EXPECTED) for row in rows}
    if len(given) != 1 or len(expected) < 2 or None in given:
        return {}
    return {"only_answer": str(given.pop())}


def _deciding(row: Mapping[str, Any], parts: Sequence[str]) -> str | None:
    """The first of these parts that a row or an answer has, as a string; of answered tags the one that all words have."""
    part = next((row[part] for part in parts if part in row), None)
    if isinstance(part, (list, tuple)) and parts == GIVEN:
        return str(part[0]) if len(set(part)) == 1 else repr(part)
    return None if part is None else str(part)


def error_rows(
    answers: Answers, rows: Rows, numbers: Sequence[int], metrics: Metrics, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows with errors for errors.jsonl, worst first: each with its number in the file, the expected and the given answer.

    Returns:
        All rows where errors are a matter of degree; none for a language model.
    """
    found: list[dict[str, Any]] = report_module(metrics.report).error_rows(answers, rows, numbers, labels)
    return found
