"""The report of an evaluation and the rows with errors, by the kind of report that a head names."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.heads.protocol import Answers, Metrics
from hftool.registry.heads import ReportSpec, report_module, report_spec


def make_report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Measure answers, one for each row, against the expected ones; without answers where the metrics need only the loss.

    Returns:
        The number of rows, each of `metrics.names` as a number, what else belongs to the kind, and the loss.
    """
    names = tuple(name for name in metrics.names if name != "loss")
    details = report_module(metrics.report).report(answers, rows, replace(metrics, names=names), labels, loss)
    return {"rows": len(rows), **details, **_only_answer(answers, rows, report_spec(metrics.report)), "loss": loss}


def _only_answer(answers: Answers, rows: Rows, spec: ReportSpec) -> dict[str, str]:
    """The answer to all rows under "only_answer", where it is the same although the expected ones differ."""
    given = {_as_text(answer.get(spec.given)) for answer in answers[: len(rows)]}
    if len(given) != 1 or None in given or len({str(row[spec.expected]) for row in rows}) < 2:
        return {}
    return {"only_answer": str(given.pop())}


def _as_text(answer: Any) -> str | None:
    """The deciding part of an answer as a string; of tags the one that all words have."""
    if isinstance(answer, (list, tuple)) and not answer:
        return ""
    if isinstance(answer, (list, tuple)):
        return ", ".join(map(str, dict.fromkeys(answer) if len(set(answer)) == 1 else answer))
    return None if answer is None else str(answer)


def error_rows(
    answers: Answers, rows: Rows, numbers: Sequence[int], metrics: Metrics, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows with errors for errors.jsonl, worst first: each with its number in the file, the expected and the given answer.

    Returns:
        All rows where errors are a matter of degree; none for a language model.
    """
    found: list[dict[str, Any]] = report_module(metrics.report).error_rows(answers, rows, numbers, labels)
    return found
