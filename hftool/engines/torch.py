"""The engine that runs a model in torch."""

import contextlib
import functools
import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from hftool.engines.fused_encoder import FusedModel
from hftool.engines.fused_generation import begin_fused
from hftool.engines.kv_cache import GenerationState, TorchGenerationState
from hftool.engines.unpadded import without_padding

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TorchEngine:
    """Runs batches through a model, without gradients.

    Args:
        model: A model of transformers.
        device: Where it is.
        precision: fp32, or bf16 for matrix products only; int8 for generation with GPT-2 on the CPU.
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

    def begin(self, batch: Batch) -> GenerationState:
        """Start generation for input_ids and attention_mask (B, T), padded on the left for a decoder."""
        inputs = {key: value.to(self.device) for key, value in batch.items() if key in ("input_ids", "attention_mask")}
        return begin_fused(self.model, inputs, self.precision) or TorchGenerationState(self.model, inputs, self.precision)


def without_cache(model: Any) -> dict[str, bool]:
    """The argument that keeps a decoder from building a cache that is not used, if its forward has one."""
    return {"use_cache": False} if _knows_cache(cast(Hashable, type(getattr(model, "module", model)))) else {}


@functools.cache  # called for every batch
def _knows_cache(kind: Hashable) -> bool:
    """Whether the forward of a model class has the parameter use_cache."""
    return "use_cache" in inspect.signature(cast(Any, kind).forward).parameters
