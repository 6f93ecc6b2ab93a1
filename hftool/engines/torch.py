"""The engine that runs a model in torch."""

import contextlib
import functools
import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from hftool.engines.generation_state import TorchGenerationState
from hftool.engines.unpadded import packing

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TorchEngine:
    """Answers batches with a model, without gradients. precision: fp32, or bf16 for the products only. packs: whether padding
    is left out of the layers, of a model for which `packed.can_pack` said so."""

    model: Any
    device: str = "cpu"
    precision: str = "fp32"
    packs: bool = False

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> dict[str, torch.Tensor]:
        """inputs of shape (B, T) -> the named outputs (B, ...) as float32 on the CPU, and the attention mask (B, T) beside
        them. `labels` in the batch are not passed on.
        """
        inputs = {key: value.to(self.device) for key, value in batch.items() if key != "labels"}
        kind = self.device.split(":")[0]
        packed = packing(inputs["attention_mask"]) if self.packs else contextlib.nullcontext()
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"), packed:
            made = self.model(**inputs, **without_cache(self.model))
        return {"attention_mask": batch["attention_mask"], **{name: made[name].float().cpu() for name in outputs}}

    def begin(self, batch: Batch) -> TorchGenerationState:
        """Begin to write after each row of the batch: input_ids and attention_mask (B, T), padded on the left for a decoder."""
        inputs = {key: value.to(self.device) for key, value in batch.items() if key in ("input_ids", "attention_mask")}
        return TorchGenerationState(self.model, inputs, self.precision)


def without_cache(model: Any) -> dict[str, bool]:
    """The argument that keeps a decoder from building a cache that nobody will read, where its forward knows it."""
    return {"use_cache": False} if _knows_cache(cast(Hashable, type(getattr(model, "module", model)))) else {}


@functools.cache  # asked at every batch
def _knows_cache(kind: Hashable) -> bool:
    """Whether a class of models can be told to build no cache."""
    return "use_cache" in inspect.signature(cast(Any, kind).forward).parameters
