"""The trial of a fused encoder: it is used where its outputs differ from those of the model's own layers by rounding alone."""

from typing import Any

import torch

from hftool.engines.fused_encoder import FusedEncoder, FusedModel
from hftool.engines.torch import TorchEngine
from hftool.engines.unpadded import supports_unpadding

LEAST_HIDDEN = 256  # hidden size from which a fused encoder pays for the packing of its weights
TRIAL_LENGTHS = range(2, 18, 2)  # tokens of the rows of the trial of a fused encoder
# the tolerance of a fused encoder: this many times the largest error in its trial, but at least this share of the largest
# output, as the rows of a trial may by chance lie where outputs hardly change
ERRORS, SHARE = 4, 0.04
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")  # of any head
MOST_ERROR = 0.04  # of the trial, as a share of the largest output: a larger one is no rounding


def fuse(model: Any) -> FusedModel | None:
    """Convert the layers of a model to a fused encoder, once; None where it has none or its outputs differ in a trial.

    The model must support unpadded batches, and is otherwise left as it is.
    """
    if not hasattr(model, "_hftool_fused"):
        model._hftool_fused = _fuse(model)
    known: FusedModel | None = model._hftool_fused
    return known


def _fuse(model: Any) -> FusedModel | None:
    if getattr(model.config, "hidden_size", 0) < LEAST_HIDDEN or not supports_unpadding(model):
        return None
    encoder = FusedEncoder.of(model)
    if encoder is None:
        return None
    lengths = torch.tensor(list(TRIAL_LENGTHS))
    ids = torch.randint(model.config.vocab_size, (len(lengths), int(lengths.max())), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    exact, fast = (TorchEngine(model, packs=True, fused=fused) for fused in (None, FusedModel(encoder, 0.0)))
    batch = {"input_ids": ids, "attention_mask": mask}
    with torch.inference_mode():
        names = [name for name in OUTPUTS if name in model(**batch)]
    outputs, fast_outputs = exact.forward(batch, names), fast.forward(batch, names)
    error = largest = 0.0
    for name in names:
        values, others = outputs[name], fast_outputs[name]
        if values.shape[:2] == mask.shape:  # the outputs at padding are meaningless
            values, others = values[mask.bool()], others[mask.bool()]
        error, largest = max(error, float((values - others).abs().max())), max(largest, float(values.abs().max()))
    if not 0 < error <= MOST_ERROR * largest:
        return None
    return FusedModel(encoder, max(ERRORS * error, SHARE * largest))
