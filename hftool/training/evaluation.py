"""Evaluation during training: with several processes each answers its share of the rows, and every row counts once."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from hftool.data.readers.tables import Row
from hftool.evaluation.report import make_report
from hftool.heads.protocol import Answer, Feature
from hftool.inference.predictor import Predictor
from hftool.processes import is_distributed
from hftool.training.distributed import ProcessGroup, all_gather_json, synchronized


def measure(
    group: ProcessGroup, predictor: Predictor, features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
) -> dict[str, Any]:
    """The report of a model on rows and their features, as `make_report` makes it, in all processes of a run."""
    answers, loss = score(group, predictor, features)
    return make_report(answers, rows, predictor.head.metrics(), labels, loss)


def score(group: ProcessGroup, predictor: Predictor, features: Sequence[Feature]) -> tuple[list[Answer], float]:
    """`Predictor.score` in every process of a run; an error in one process is raised in all."""
    if not is_distributed():
        return predictor.score(features)
    rows = [list(features_of_row) for _, features_of_row in groupby(features, key=lambda feature: feature.row)]
    number, of = group.accelerator.process_index, group.accelerator.num_processes
    own = [feature for row in rows[number::of] for feature in row]
    with synchronized(group.accelerator):
        sums = predictor.sums(own)
    parts = all_gather_json(group.accelerator, sums)
    whole: list[Any] = [None] * len(rows)
    for first, (theirs, _, _) in enumerate(parts):
        for position, answer in zip(range(first, len(rows), of), theirs, strict=False):  # empty where only the loss is measured
            whole[position] = answer
    mean = sum(total for _, total, _ in parts) / max(sum(count for _, _, count in parts), 1)
    return [answer for answer in whole if answer is not None], mean
