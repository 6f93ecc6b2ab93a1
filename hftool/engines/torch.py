"""The engine that runs a model in torch."""

import contextlib
import functools
import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from hftool.engines.fused_encoder import FusedEncoder
from hftool.engines.kv_cache import TorchGenerationState
from hftool.engines.unpadded import supports_unpadding, without_padding

Batch = Mapping[str, torch.Tensor]
LEAST_HIDDEN = 256  # hidden size from which a fused encoder pays for the packing of its weights
TRIAL_LENGTHS = range(2, 18, 2)  # tokens of the rows of the trial of a fused encoder
# the tolerance of a fused encoder: this many times the largest error in its trial, but at least this share of the largest
# output, as the rows of a trial may by chance lie where outputs hardly change
ERRORS, SHARE = 4, 0.04
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")  # of any head
MOST_ERROR = 0.04  # of the trial, as a share of the largest output: a larger one is no rounding


@dataclass(frozen=True)
class FusedModel:
    """A fused encoder for the layers of a model, and the tolerance of its outputs, an absolute error."""

    encoder: FusedEncoder
    tolerance: float


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
    error = largest = 0.0
    for name in names:
        values, others = (engine.forward(batch, names)[name] for engine in (exact, fast))
        if values.shape[:2] == mask.shape:  # the outputs at padding are meaningless
            values, others = values[mask.bool()], others[mask.bool()]
        error, largest = max(error, float((values - others).abs().max())), max(largest, float(values.abs().max()))
    if not 0 < error <= MOST_ERROR * largest:
        return None
    return FusedModel(encoder, max(ERRORS * error, SHARE * largest))


@dataclass(frozen=True)
class TorchEngine:
    """Runs batches through a model, without gradients.

    Args:
        model: A model of transformers.
        device: Where it is.
        precision: fp32, or bf16 for matrix products only.
        packs: Whether its layers run without padding; only for a model that `unpadded.supports_unpadding`.
        fused: Runs in place of its layers; only if it `packs`.
    """

    model: Any
    device: str = "cpu"
    precision: str = "fp32"
    packs: bool = False
    fused: FusedModel | None = None

    @property
    def number_format(self) -> str:
        """bf16 or fp32."""
        return "bf16" if self.fused else self.precision

    @property
    def tolerance(self) -> float:
        """The largest error of an output that comes from the number format; 0.0 in fp32."""
        return self.fused.tolerance if self.fused else 0.0

    def exact(self) -> "TorchEngine":
        """The same engine without a tolerance."""
        return replace(self, fused=None)

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> dict[str, torch.Tensor]:
        """Run a batch.

        Args:
            batch: Inputs (B, T); `labels` are ignored.
            outputs: The names of the outputs to return.

        Returns:
            The outputs (B, ...) as float32 on the CPU, and the attention mask (B, T).
        """
        inputs = {key: value.to(self.device) for key, value in batch.items() if key != "labels"}
        kind = self.device.split(":")[0]
        fused = self.fused.encoder if self.fused else None
        unpadding = without_padding(inputs["attention_mask"], fused) if self.packs else contextlib.nullcontext()
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"), unpadding:
            found = self.model(**inputs, **without_cache(self.model))
        return {"attention_mask": batch["attention_mask"], **{name: found[name].float().cpu() for name in outputs}}

    def begin(self, batch: Batch) -> TorchGenerationState:
        """Start generation for input_ids and attention_mask (B, T), padded on the left for a decoder."""
        inputs = {key: value.to(self.device) for key, value in batch.items() if key in ("input_ids", "attention_mask")}
        return TorchGenerationState(self.model, inputs, self.precision)


def without_cache(model: Any) -> dict[str, bool]:
    """The argument that keeps a decoder from building a cache that is not used, if its forward has one."""
    return {"use_cache": False} if _knows_cache(cast(Hashable, type(getattr(model, "module", model)))) else {}


@functools.cache  # called for every batch
def _knows_cache(kind: Hashable) -> bool:
    """Whether the forward of a model class has the parameter use_cache."""
    return "use_cache" in inspect.signature(cast(Any, kind).forward).parameters
