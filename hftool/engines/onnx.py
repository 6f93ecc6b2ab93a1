"""The engine that runs graphs in ONNX Runtime, on the CPU."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hftool.engines.onnx_generation import OnnxGenerationState, forward_writing
from hftool.errors import DataError

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class OnnxModel:
    """Graphs that are open. sessions: an onnxruntime.InferenceSession for each, by name: "model", where the answer is read off
    its outputs, or those that write."""

    sessions: Mapping[str, Any]
    config: Any
    generation_config: Any = None
    device: str = "cpu"


def open_model(folder: Path, graphs: Mapping[str, str], config: Any) -> OnnxModel:
    """Open the graphs of a folder that `hftool.safety.check_folder` has passed. graphs: the file of each by its name. config:
    the transformers config beside them.

    Raises DataError when a graph cannot be run.
    """
    from transformers import GenerationConfig

    onnxruntime = importlib.import_module("onnxruntime")  # it carries no types

    sessions = {}
    for name, file in graphs.items():
        try:
            sessions[name] = onnxruntime.InferenceSession(str(folder / file), _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class of their own but Exception
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"the graph '{folder / file}' cannot be opened: {reason}", "Export the model again") from None
    settings = None
    if (folder / "generation_config.json").is_file():
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return OnnxModel(sessions, config, settings)


def _options() -> Any:
    """How a session runs: in as many threads as torch has, none of which spins while it waits for work, as in a server that
    is idle; and never by a file that is something else than its name says."""
    options = importlib.import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


@dataclass(frozen=True)
class OnnxEngine:
    """Answers batches with graphs, as `TorchEngine` does with a model. packs: never, graphs take batches as they are."""

    model: OnnxModel
    packs: bool = False

    def forward(self, batch: Batch, outputs: Sequence[str] = ("logits",)) -> dict[str, torch.Tensor]:
        """inputs of shape (B, T) -> the named outputs (B, ...) as float32, and the attention mask (B, T) beside them.

        An input that the graph has and the batch has not, such as token types, is all zeros. `labels` are not passed on.
        Raises DataError when the graph does not take an input, does not give an output, or fails.
        """
        session = self.model.sessions.get("model")
        made = forward_writing(self.model, batch) if session is None else _run(session, batch, outputs)
        return {"attention_mask": batch["attention_mask"], **{name: made[name].float() for name in outputs}}

    def begin(self, batch: Batch) -> OnnxGenerationState:
        """Begin to write after each row of the batch: input_ids and attention_mask (B, T), padded on the left for a decoder."""
        return OnnxGenerationState(self.model, {key: batch[key] for key in ("input_ids", "attention_mask")})


def _run(session: Any, batch: Batch, outputs: Sequence[str]) -> dict[str, torch.Tensor]:
    taken = [value.name for value in session.get_inputs()]
    given = {value.name for value in session.get_outputs()}
    lost = [name for name, values in batch.items() if name not in (*taken, "labels") and bool(values.any())]
    missing = [name for name in outputs if name not in given]
    if lost or missing:
        what = f"does not take {', '.join(lost)}" if lost else f"does not give {', '.join(missing)}"
        raise DataError(f"the graph {what}", "Export the model again, for what it is to do now")
    zeros = torch.zeros_like(batch["input_ids"])
    try:
        made = session.run(list(outputs), {name: batch.get(name, zeros).numpy() for name in taken})
    except Exception as error:  # its errors have no class of their own but Exception
        raise DataError(f"the graph cannot answer: {' '.join(str(error).split())[:200]}") from None
    return dict(zip(outputs, map(torch.from_numpy, made), strict=True))
