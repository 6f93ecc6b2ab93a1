"""Training targets and metrics of a run: the scale of regression labels, and the metric that chooses the checkpoint."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftool.data.readers.tables import Row
from hftool.data.splits import Splits
from hftool.errors import UsageError
from hftool.heads.protocol import Feature, Metrics
from hftool.models import HeadConfig, Loaded, read_head_config
from hftool.progress import Progress, notice
from hftool.registry.heads import LOSS, report_spec
from hftool.workflow._load import make_predictor

UNEVEN = 0.5  # classes are uneven where one has less than this fraction of an equal share of the rows
UNEVEN_METRICS = ("macro_f1", "accuracy")
OLD_REGRESSION = ("pearson", "spearman")  # the metrics of versions that did not standardise labels
ROWS_TO_COMPARE = 64
WORST = 9.0  # squared error, in standard deviations of the new labels, above which a trained head has another scale


def scale_of(rows: Sequence[Row]) -> tuple[float, float]:
    """The mean and the standard deviation of the labels; 1 where they do not differ."""
    values = np.array([row["label"] for row in rows], np.float64)
    largest = float(np.abs(values).max()) or 1.0
    small = values / largest  # the square of a huge number would be infinite, that of a tiny one 0
    return float(small.mean()) * largest, float(small.std()) * largest or 1.0


def is_uneven(splits: Splits) -> bool:
    """Whether a class of the train rows is much rarer than the others, so that accuracy is misleading."""
    if "label" not in splits.columns or splits.labels.range or splits.labels.several:
        return False
    counts = Counter(row["label"] for row in splits.train.rows)
    return min(counts.values()) * len(counts) < UNEVEN * counts.total()


def with_metric(head_config: HeadConfig, metrics: Metrics, metric: str | None) -> HeadConfig:
    """The head config with the user's metric first. Raises UsageError when the head has no such metric."""
    if metric is None:
        return head_config
    names = (*report_spec(metrics.report).metrics, LOSS)
    if metric not in names:
        raise UsageError(f"metric must be one of {', '.join(names)} for this task, not '{metric}'", "Correct --metric")
    return dataclasses.replace(head_config, measures=(metric, *(name for name in metrics.names if name != metric)))


def restore_targets(head_config: HeadConfig, base: Path) -> HeadConfig:
    """The head config of a resumed run with the values that `base` recorded at its start: sources, metrics, scale of labels."""
    recorded = read_head_config(base) if base.is_dir() else None
    if recorded is None:
        return head_config
    kept = {name: getattr(recorded, name) for name in ("task", "base", "measures", "label_scale")}
    if head_config.label_scale and not recorded.label_scale:  # started by an older version
        kept["measures"] = recorded.measures or OLD_REGRESSION
    return dataclasses.replace(head_config, **kept)


def fit_head(loaded: Loaded, folder: Path, features: Sequence[Feature], progress: Progress) -> None:
    """Convert a trained regression head, in place, to the scale of the new labels, so that its answers stay the same numbers.

    Answers far from the new labels are moved to their scale, with a notice.
    """
    layer = _trained_output(loaded) if loaded.head_config.label_scale else None
    if layer is None:
        return
    before = read_head_config(folder)
    was, now = (before.label_scale if before else ()) or (0.0, 1.0), loaded.head_config.label_scale
    _transform(layer, was[1] / now[1], (was[0] - now[0]) / now[1])
    some = [dataclasses.replace(feature, row=i) for i, feature in enumerate(features[:ROWS_TO_COMPARE])]
    answers = np.array([answer["score"] for answer in make_predictor(loaded).answer_features(some)])
    wanted = np.array([feature.target for feature in some])
    if np.mean(((answers - wanted) / now[1]) ** 2) <= WORST:
        return
    middle, spread = float(answers.mean() - now[0]) / now[1], float(answers.std()) / now[1] or 1.0
    _transform(layer, 1 / spread, -middle / spread)
    notice(
        progress,
        f"the model answered numbers around {answers.mean():.4g}, the new ones are around {now[0]:.4g}: its head is moved "
        "onto their scale",
    )


def _trained_output(loaded: Loaded) -> Any:
    """The regression layer, where the model has trained weights of it."""
    body, model = loaded.model.base_model, loaded.model
    inner = set(body.modules()) if body is not model else set()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == 1 and module not in inner
    }
    if len(layers) != 1 or any(name.startswith(next(iter(layers))) for name in loaded.new_weights):
        return None
    return next(iter(layers.values()))


def _transform(layer: Any, factor: float, shift: float) -> None:
    """Scale the output of a linear layer by `factor` and add `shift`, which needs a bias."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight.double() * factor)
        if layer.bias is not None:
            layer.bias.copy_(layer.bias.double() * factor + shift)
