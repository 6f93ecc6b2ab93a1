"""The thresholds of a trained model's labels, chosen on its validation rows."""

import dataclasses

import numpy as np

from hftool.evaluation.thresholds import best_thresholds
from hftool.heads.classify.head import indicators
from hftool.training.distributed import ProcessGroup
from hftool.training.evaluation import score
from hftool.workflow._load import make_predictor
from hftool.workflow.plan import FinetuneJob


def with_thresholds(job: FinetuneJob, team: ProcessGroup) -> FinetuneJob:
    """The job with the thresholds that have the highest F1 on its validation rows, in all processes of a run."""
    head_config = job.loaded.head_config
    answers, _ = score(team, make_predictor(job.loaded), job.encoded["validation"])
    probabilities = np.array([list(answer["probabilities"].values()) for answer in answers])
    expected = indicators([row["label"] for row in job.splits.validation.rows], len(head_config.labels))
    chosen = dataclasses.replace(head_config, label_thresholds=best_thresholds(probabilities, expected))
    return dataclasses.replace(job, loaded=dataclasses.replace(job.loaded, head_config=chosen))
