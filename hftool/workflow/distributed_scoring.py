"""Evaluation with all processes of a run: each answers its share of the rows, and every row counts once."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from hftool.heads.protocol import Answer, Feature
from hftool.inference.predictor import Predictor
from hftool.processes import is_distributed
from hftool.training.distributed import ProcessGroup, on_each_process


def score_together(team: ProcessGroup, predictor: Predictor, features: Sequence[Feature]) -> tuple[list[Answer], float]:
    """`Predictor.score` in every process of a run; an error in one process is raised in all."""
    if not is_distributed():
        return predictor.score(features)
    rows = [list(group) for _, group in groupby(features, key=lambda feature: feature.row)]
    number, of = team.accelerator.process_index, team.accelerator.num_processes
    own = [feature for row in rows[number::of] for feature in row]
    parts = on_each_process(team.accelerator, lambda: list(predictor.sums(own)))
    whole: list[Any] = [None] * len(rows)
    for first, (theirs, _, _) in enumerate(parts):
        for position, answer in zip(range(first, len(rows), of), theirs, strict=False):  # empty where only the loss is measured
            whole[position] = answer
    mean = sum(total for _, total, _ in parts) / max(sum(count for _, _, count in parts), 1)
    return [answer for answer in whole if answer is not None], mean
