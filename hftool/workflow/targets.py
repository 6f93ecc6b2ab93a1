"""What a run learns towards, and what it is judged by: the scale of numbers, and the metric that decides."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hftool.config import LOSS, METRICS
from hftool.data.readers.tables import Row
from hftool.data.splits import Splits
from hftool.errors import UsageError
from hftool.heads.protocol import Feature, Metrics
from hftool.models import HeadConfig, Loaded, read_head_config
from hftool.progress import Progress, notice
from hftool.workflow._load import make_predictor

UNEVEN = 0.5  # a class with less than this share of an even part of the rows makes them uneven
UNEVEN_METRICS = ("macro_f1", "accuracy")
OLD_NUMBERS = ("pearson", "spearman")  # what decided about numbers before they were standardised
ROWS_TO_COMPARE = 64
WORST = 9.0  # squared error, in scales of the new numbers, from which on a trained head answers on another scale


def scale_of(rows: Sequence[Row]) -> tuple[float, float]:
    """The mean and the standard deviation of the labels; 1 where they do not differ."""
    values = np.array([row["label"] for row in rows], np.float64)
    largest = float(np.abs(values).max()) or 1.0
    small = values / largest  # the square of a huge number would be infinite, that of a tiny one 0
    return float(small.mean()) * largest, float(small.std()) * largest or 1.0


def is_uneven(splits: Splits) -> bool:
    """Whether a class of the train rows is much rarer than the others: accuracy then says little."""
    if "label" not in splits.columns or splits.labels.range:
        return False
    counts = Counter(row["label"] for row in splits.train.rows)
    return min(counts.values()) * len(counts) < UNEVEN * counts.total()


def with_metric(head_config: HeadConfig, metrics: Metrics, metric: str | None) -> HeadConfig:
    """The card with the metric that the user chose to decide. Raises UsageError when the head has no such metric."""
    if metric is None:
        return head_config
    names = (*METRICS.get(metrics.report, metrics.names), LOSS)
    if metric not in names:
        raise UsageError(f"metric must be one of {', '.join(names)} for this task, not '{metric}'", "Mend --metric")
    return dataclasses.replace(head_config, measures=(metric, *(name for name in metrics.names if name != metric)))


def restore_targets(head_config: HeadConfig, base: Path) -> HeadConfig:
    """The card of a resumed run with what the one in `base` said when the run began: where things lay, on which scale it
    learns, and what decides."""
    begun = read_head_config(base) if base.is_dir() else None
    if begun is None:
        return head_config
    kept = {name: getattr(begun, name) for name in ("task", "base", "measures", "label_scale")}
    if head_config.label_scale and not begun.label_scale:  # it was begun by an older version
        kept["measures"] = begun.measures or OLD_NUMBERS
    return dataclasses.replace(head_config, **kept)


def fit_head(loaded: Loaded, folder: Path, features: Sequence[Feature], progress: Progress) -> None:
    """Convert the trained regression head of the model in `folder` to the scale of the new card, so that its answers stay the
    same numbers. Where they are far from the new numbers, they are moved onto their scale, and that is said.

    Args:
        loaded: The model with its new card; changed in place.
        folder: Where it was loaded from.
        features: Train rows.
        progress: Told when the answers are moved.
    """
    layer = _trained_output(loaded) if loaded.head_config.label_scale else None
    if layer is None:
        return
    begun = read_head_config(folder)
    was, now = (begun.label_scale if begun else ()) or (0.0, 1.0), loaded.head_config.label_scale
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
    """The layer that gives one number, where the model brought its weights."""
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
    """Make a linear layer answer its output times `factor` plus `shift`; without a bias it keeps its zero."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight.double() * factor)
        if layer.bias is not None:
            layer.bias.copy_(layer.bias.double() * factor + shift)
