"""The engine that runs exported graphs in ONNX Runtime on the CPU."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hftool.engines.onnx_generation import OnnxGenerationState, OnnxModel, forward_generator
from hftool.errors import DataError, brief

__all__ = ["OnnxEngine", "OnnxModel", "open_model"]
Batch = Mapping[str, torch.Tensor]


def open_model(folder: Path, graphs: Mapping[str, str], config: Any) -> OnnxModel:
    """Open the graphs, name -> file, of a folder that `hftool.models.safety.check_folder` has accepted.

    Raises:
        DataError: A graph cannot be opened.
    """
    from transformers import GenerationConfig

    onnxruntime = importlib.import_module("onnxruntime")  # it carries no types

    sessions = {}
    for name, file in graphs.items():
        try:
            sessions[name] = onnxruntime.InferenceSession(str(folder / file), _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime derives its errors from Exception alone
            reason = brief(error)
            raise DataError(f"the graph '{folder / file}' cannot be opened: {reason}", "Export the model again") from None
    settings = None
    if (folder / "generation_config.json").is_file():
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return OnnxModel(sessions, config, settings)


def _options() -> Any:
    """Session options: as many threads as torch has, none of which spins while waiting; and the file must be ONNX."""
    options = importlib.import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


@dataclass(frozen=True)
class OnnxEngine:
    """Runs batches through graphs, as `TorchEngine` does through a model. packs: always False, graphs take padded batches."""

    model: OnnxModel
    packs: bool = False
    tolerance: float = 0.0  # the number format was chosen with the export

    @property
    def number_format(self) -> str:
        """That of the export."""
        return "export"

    def exact(self) -> "OnnxEngine":
        """Itself."""
        return self

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> dict[str, torch.Tensor]:
        """Run a batch.

        Args:
            batch: Inputs (B, T); `labels` are ignored, and inputs that are missing here, such as token types, are zeros.
            outputs: The names of the outputs to return.

        Returns:
            The outputs (B, ...) as float32, and the attention mask (B, T).

        Raises:
            DataError: The graph lacks an input or an output, or fails.
        """
        session = self.model.sessions.get("model")
        found = forward_generator(self.model, batch) if session is None else _run(session, batch, outputs)
        return {"attention_mask": batch["attention_mask"], **{name: found[name].float() for name in outputs}}

    def begin(self, batch: Batch) -> OnnxGenerationState:
        """Start generation for input_ids and attention_mask (B, T), padded on the left for a decoder."""
        return OnnxGenerationState(self.model, {key: batch[key] for key in ("input_ids", "attention_mask")})


def _run(session: Any, batch: Batch, outputs: Sequence[str]) -> dict[str, torch.Tensor]:
    inputs = [value.name for value in session.get_inputs()]
    known = {value.name for value in session.get_outputs()}
    unused = [name for name, values in batch.items() if name not in (*inputs, "labels") and bool(values.any())]
    missing = [name for name in outputs if name not in known]
    if unused or missing:
        what = f"does not take {', '.join(unused)}" if unused else f"does not give {', '.join(missing)}"
        raise DataError(f"the graph {what}", "Export the model again, for what it is to do now")
    zeros = torch.zeros_like(batch["input_ids"])
    try:
        arrays = session.run(list(outputs), {name: batch.get(name, zeros).numpy() for name in inputs})
    except Exception as error:  # onnxruntime derives its errors from Exception alone
        raise DataError(f"the graph cannot answer: {brief(error)}") from None
    return dict(zip(outputs, map(torch.from_numpy, arrays), strict=True))
