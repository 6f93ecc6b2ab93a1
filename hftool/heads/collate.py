"""Padding features to tensors, and the token loss; shared by all heads."""

from collections.abc import Sequence

import numpy as np
import torch

from hftool.heads.protocol import Batch, Feature

IGNORED = -100  # a label without a loss: https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html


def collate_inputs(features: Sequence[Feature], *, pad: int, left: bool) -> Batch:
    """Pad to the longest: input_ids and attention_mask (B, T), and token_type_ids (B, T) where features have them."""
    ids = pad_rows([f.input_ids for f in features], fill=pad, left=left)
    mask = pad_rows([np.ones(f.length, np.int64) for f in features], fill=0, left=left)
    batch = {"input_ids": ids, "attention_mask": mask}
    token_type_ids = [f.token_type_ids for f in features]
    if any(part is not None for part in token_type_ids):
        known = [np.zeros(f.length, np.int64) if f.token_type_ids is None else f.token_type_ids for f in features]
        batch["token_type_ids"] = pad_rows(known, fill=0, left=left)
    return batch


def seeds_of(features: Sequence[Feature]) -> Batch:
    """The random seeds (B,) under "seeds", where all features have one as `aux`."""
    seeds = [feature.aux for feature in features]
    return {} if any(seed is None for seed in seeds) else {"seeds": torch.tensor(seeds, dtype=torch.int64)}


def pad_rows(rows: Sequence[np.ndarray], *, fill: int, left: bool = False) -> torch.Tensor:
    """Rows of integers (T_i,) -> (B, max T_i) int64, `fill` where a row is shorter."""
    length = max(len(row) for row in rows)
    padded = np.full((len(rows), length), fill, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, slice(length - len(row), None) if left else slice(0, len(row))] = row
    return torch.from_numpy(padded)


def token_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Cross-entropy of logits (B, T, V) and labels (B, T) where they are not -100 -> (sum, number of labels)."""
    counted = labels != IGNORED
    chosen = logits[counted].float()  # only these become fp32: a vocabulary is large
    return torch.nn.functional.cross_entropy(chosen, labels[counted], reduction="sum"), int(counted.sum())
