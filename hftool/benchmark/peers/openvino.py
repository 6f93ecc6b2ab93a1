"""OpenVINO with its defaults, which are bf16 where the processor has it, or in fp32."""

import importlib
from collections.abc import Sequence
from typing import Any

from hftool.benchmark.arm import Arm
from hftool.benchmark.infer import InferWork
from hftool.benchmark.peers.forward import Batch, ForwardEngine
from hftool.machine import cpu_has_fast_bf16


def infer(work: InferWork, variant: str) -> Arm:
    """The model, converted and compiled for the CPU. variant: fp32, or "" for the default number format."""
    openvino = importlib.import_module("openvino")  # it carries no types for mypy
    head = work.head
    features = head.encode(list(work.rows[:2]))
    example = {name: values for name, values in head.collate(features).items() if name != "labels"}
    converted = openvino.convert_model(work.loaded.model, example_input=example)
    settings = {"INFERENCE_PRECISION_HINT": "f32"} if variant else {}
    compiled: Any = openvino.compile_model(converted, "CPU", settings)
    named = {name for port in compiled.outputs for name in port.get_names()}

    def _outputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
        found = compiled({name: values.numpy() for name, values in batch.items()})
        return {name: found[name if name in named else i] for i, name in enumerate(names)}

    return work.arm_of_engine(ForwardEngine(_outputs), "bf16" if cpu_has_fast_bf16() and not variant else "fp32")
