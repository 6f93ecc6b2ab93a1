"""Generation with a key-value cache in ONNX Runtime; hftool/onnx_export/generation_graphs.py has the inputs and outputs.

The cache stays in numpy: IO binding (onnxruntime 1.31) was not faster for a GPT-2 of four layers with 8 rows and 512 cached
tokens, and reordering rows needs numpy anyway.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hftool.engines.kv_cache import end_ids, remaining_positions, start_id
from hftool.errors import DataError, brief

REPAIR = "Export the model again"

Arrays = dict[str, np.ndarray]  # by their names in a graph


@dataclass(frozen=True)
class OnnxModel:
    """The opened graphs of an export.

    Args:
        sessions: An onnxruntime.InferenceSession for each graph by name: "model", or "decoder" and "encoder" of a model that
            generates.
        config: The transformers config of the model.
        generation_config: The transformers generation config, if there is one.
        device: Always the CPU.
    """

    sessions: Mapping[str, Any]
    config: Any
    generation_config: Any = None
    device: str = "cpu"


class OnnxGenerationState:
    """A generation in ONNX Runtime. See `hftool.engines.kv_cache.GenerationState`.

    Args:
        model: The graphs.
        inputs: input_ids and attention_mask (B, T) on the CPU, padded as for `TorchGenerationState`.

    Raises:
        DataError: A prompt has no tokens or more than the model has positions, or a graph fails.
        ConfigError: An encoder-decoder has no start token.
    """

    def __init__(self, model: OnnxModel, inputs: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._ids, self._mask = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy()
        self._prompts = np.arange(len(self._mask))  # (N,): the prompt of each sequence
        self._has_encoder = bool(model.config.is_encoder_decoder)
        self._decoder = _Graph(model, "decoder")
        self._past = self._decoder.empty_cache(len(self._mask))
        self._source: Arrays = {}  # cross-attention keys and values of the prompts
        self.end_ids = end_ids(model)
        self.max_remaining = remaining_positions(model.config, self._mask.sum(axis=1).tolist())
        if not self._has_encoder and not self._mask[:, -1].all():
            raise ValueError("a decoder continues its prompts: pad them on the left")

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. Prompts are computed once, however many copies there are."""
        tokens = self._ids
        if self._has_encoder:
            tokens = np.full_like(self._ids[:, :1], start_id(self._model))
            self._source = _encode(self._model, self._ids, self._mask)
        logits = self._run(tokens)
        if copies > 1:
            self._select(np.arange(len(logits)).repeat(copies))
            logits = logits.repeat_interleave(copies, dim=0)
        return logits

    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """See `GenerationState.decode`."""
        if rows is not None:
            self._reorder(rows.numpy())
        if not self._has_encoder:
            self._mask = np.pad(self._mask, ((0, 0), (0, 1)), constant_values=1)
        return self._run(tokens.numpy()[:, None])

    def _reorder(self, rows: np.ndarray) -> None:
        """Keep these sequences of the state, in this order."""
        if np.array_equal(rows, np.arange(len(self._mask))):
            return
        if self._has_encoder and np.array_equal(self._prompts[rows], self._prompts):
            # beams of a prompt are reordered: they share the cross-attention cache of the prompt
            self._past = _rows(self._past, rows)
            return
        self._select(rows)

    def _select(self, rows: np.ndarray) -> None:
        self._past, self._source = _rows(self._past, rows), _rows(self._source, rows)
        self._mask, self._prompts = self._mask[rows], self._prompts[rows]

    def _run(self, tokens: np.ndarray) -> torch.Tensor:
        """tokens (N, T) after those in the cache -> logits (N, V) after the last of them."""
        inputs = {"input_ids": tokens, "attention_mask": self._mask, "keep": np.array([tokens.shape[1] - 1])}
        if not self._has_encoder:
            # positions count from the first token that is not padding; padding is masked, so its position does not matter
            inputs["position_ids"] = (self._mask.cumsum(axis=1) - 1).clip(min=0)[:, -tokens.shape[1] :]
        outputs = self._decoder.run({**inputs, **self._past, **self._source})
        self._past = {name: outputs[_present(name)] for name in self._past}
        return _logits(outputs, (len(tokens), 1))[:, 0]


def forward_generator(model: OnnxModel, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The logits of every token of given texts (teacher forcing).

    Args:
        model: The graphs.
        batch: input_ids and attention_mask (B, T), position_ids (B, T) where they are not 0 to T - 1, and decoder_input_ids
            (B, U) for an encoder-decoder.

    Returns:
        "logits", float32: (B, T, V), or (B, U, V) after an encoder.

    Raises:
        DataError: As `OnnxGenerationState`.
    """
    graph = _Graph(model, "decoder")
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
    source = {}
    if model.config.is_encoder_decoder:
        source = _encode(model, ids, mask)
        ids = batch["decoder_input_ids"].numpy()
    indices = np.arange(ids.shape[1])
    positions = batch["position_ids"].numpy() if "position_ids" in batch else np.broadcast_to(indices, ids.shape)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "keep": indices}
    outputs = graph.run({**inputs, **source, **graph.empty_cache(len(ids))}, only=["logits"])
    return {"logits": _logits(outputs, ids.shape)}


def _encode(model: OnnxModel, ids: np.ndarray, mask: np.ndarray) -> Arrays:
    """Run the encoder on ids and mask (B, S) -> cross-attention keys and values for the decoder."""
    return _Graph(model, "encoder").run({"input_ids": ids, "attention_mask": mask})


def _logits(outputs: Arrays, shape: tuple[int, ...]) -> torch.Tensor:
    """-> (N, K, V) float32. Raises DataError unless they are those of tokens (N, K)."""
    logits = outputs["logits"]
    if logits.ndim != 3 or logits.shape[:2] != shape:
        raise DataError(f"the graph returns logits of the shape {logits.shape} for tokens of the shape {shape}", REPAIR)
    return torch.from_numpy(logits).float()


def _present(name: str) -> str:
    """The output that becomes the input of this name in the next step."""
    return name.replace("past.", "present.", 1)


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


class _Graph:
    """One graph of a model, with arrays by name. Raises DataError where it is missing or has other inputs and outputs."""

    def __init__(self, model: OnnxModel, name: str) -> None:
        session = model.sessions.get(name)
        if session is None:
            raise DataError(f"the export has no graph called '{name}', which generation needs", REPAIR)
        self._session = session
        self._inputs = {value.name: value.shape for value in session.get_inputs()}
        self._outputs = [value.name for value in session.get_outputs()]
        self._cached = [name for name in self._inputs if name.startswith("past.")]
        shapes = [self._inputs[name] for name in self._cached]
        if any(len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int) for shape in shapes):
            raise DataError(f"the graph '{name}' does not declare the shape of its key-value cache", REPAIR)
        missing = {*map(_present, self._cached), *(["logits"] if name == "decoder" else [])} - {*self._outputs}
        if missing:
            raise DataError(f"the graph '{name}' does not give '{min(missing)}'", REPAIR)

    def empty_cache(self, rows: int) -> Arrays:
        """Keys and values (rows, heads, 0, D) of no token, for each layer."""
        shapes = {name: self._inputs[name] for name in self._cached}
        return {name: np.zeros((rows, shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items()}

    def run(self, inputs: Arrays, only: list[str] | None = None) -> Arrays:
        """Run the graph on those of the arrays that are inputs of it -> its outputs, or only some."""
        names = only or self._outputs
        try:
            outputs = self._session.run(names, {name: array for name, array in inputs.items() if name in self._inputs})
        except Exception as error:  # onnxruntime derives its errors from Exception alone
            raise DataError(f"the graph cannot answer: {brief(error)}") from None
        return dict(zip(names, outputs, strict=True))
