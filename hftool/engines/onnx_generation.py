"""Generation with a key-value cache in ONNX Runtime; hftool/onnx_export/generation_graphs.py has the inputs and outputs.

The cache stays in numpy: values bound to the session by hand (onnxruntime 1.31) were no faster, with a
GPT-2 of four layers, 8 rows and 512 kept tokens, and rows that change places need numpy anyway.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from hftool.engines.generation_state import end_ids, remaining_positions, start_id
from hftool.errors import DataError

REPAIR = "Export the model again"

Arrays = dict[str, np.ndarray]  # by the names that they have in a graph


class OnnxModel(Protocol):
    """Open graphs, the config of their model, and its settings for generation, if it has any."""

    @property
    def sessions(self) -> Mapping[str, Any]:
        """An onnxruntime.InferenceSession by name: "decoder", and "encoder" if the model has one."""
        ...

    @property
    def config(self) -> Any:
        """The transformers config of the model."""
        ...

    @property
    def generation_config(self) -> Any:
        """The transformers generation config of the model, or None."""
        ...


class OnnxGenerationState:
    """Steps of a model in ONNX Runtime. See `hftool.engines.generation_state.GenerationState`.

    Args:
        model: The graphs.
        inputs: input_ids and attention_mask (B, T) on the CPU, padded as for `TorchGenerationState`.

    Raises:
        DataError: A prompt has no tokens or more than the model has positions, or a graph fails.
        ConfigError: An encoder-decoder has no token to start with.
    """

    def __init__(self, model: OnnxModel, inputs: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._ids, self._mask = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy()
        self._prompts = np.arange(len(self._mask))  # (N,): whose text each row is
        self._encodes = bool(model.config.is_encoder_decoder)
        self._decoder = _Graph(model, "decoder")
        self._past = self._decoder.nothing_kept(len(self._mask))
        self._source: Arrays = {}  # keys and values of the prompts, where an encoder read them
        self.end_ids = end_ids(model)
        self.max_remaining = remaining_positions(model.config, self._mask.sum(axis=1).tolist())
        if not self._encodes and not self._mask[:, -1].all():
            raise ValueError("a decoder continues its prompts: pad them on the left")

    def prefill(self, copies: int = 1) -> torch.Tensor:
        """See `GenerationState.prefill`. The prompts are computed once, whatever the copies."""
        tokens = self._ids
        if self._encodes:
            tokens = np.full_like(self._ids[:, :1], start_id(self._model))
            self._source = _read(self._model, self._ids, self._mask)
        logits = self._run(tokens)
        if copies > 1:
            self._select(np.arange(len(logits)).repeat(copies))
            logits = logits.repeat_interleave(copies, dim=0)
        return logits

    def decode(self, tokens: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """See `GenerationState.decode`."""
        if rows is not None:
            self._reorder(rows.numpy())
        if not self._encodes:
            self._mask = np.pad(self._mask, ((0, 0), (0, 1)), constant_values=1)
        return self._run(tokens.numpy()[:, None])

    def _reorder(self, rows: np.ndarray) -> None:
        """Keep these rows of all that is remembered, in this order."""
        if np.array_equal(rows, np.arange(len(self._mask))):
            return
        if self._encodes and np.array_equal(self._prompts[rows], self._prompts):
            # the beams of a prompt change places: what they know of the prompt is the same for all of them
            self._past = _rows(self._past, rows)
            return
        self._select(rows)

    def _select(self, rows: np.ndarray) -> None:
        self._past, self._source = _rows(self._past, rows), _rows(self._source, rows)
        self._mask, self._prompts = self._mask[rows], self._prompts[rows]

    def _run(self, tokens: np.ndarray) -> torch.Tensor:
        """tokens (N, T) after those that are remembered -> logits (N, V) after the last of them."""
        given = {"input_ids": tokens, "attention_mask": self._mask, "keep": np.array([tokens.shape[1] - 1])}
        if not self._encodes:
            # tokens are counted from the first that is no padding; padding itself is seen by none and may be anywhere
            given["position_ids"] = (self._mask.cumsum(axis=1) - 1).clip(min=0)[:, -tokens.shape[1] :]
        made = self._decoder.run({**given, **self._past, **self._source})
        self._past = {name: made[_after(name)] for name in self._past}
        return _logits(made, (len(tokens), 1))[:, 0]


def forward_writing(model: OnnxModel, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The logits of every token of known texts (teacher forcing).

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
        source = _read(model, ids, mask)
        ids = batch["decoder_input_ids"].numpy()
    places = np.arange(ids.shape[1])
    positions = batch["position_ids"].numpy() if "position_ids" in batch else np.broadcast_to(places, ids.shape)
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "keep": places}
    made = graph.run({**given, **source, **graph.nothing_kept(len(ids))}, only=["logits"])
    return {"logits": _logits(made, ids.shape)}


def _read(model: OnnxModel, ids: np.ndarray, mask: np.ndarray) -> Arrays:
    """What the encoder makes of ids and mask (B, S): keys and values for the decoder."""
    return _Graph(model, "encoder").run({"input_ids": ids, "attention_mask": mask})


def _logits(made: Arrays, places: tuple[int, ...]) -> torch.Tensor:
    """-> (N, K, V) float32. Raises DataError when they are not those of places (N, K)."""
    logits = made["logits"]
    if logits.ndim != 3 or logits.shape[:2] != places:
        raise DataError(f"the graph answers {places} tokens with logits of the shape {logits.shape}", REPAIR)
    return torch.from_numpy(logits).float()


def _after(name: str) -> str:
    """The output that is the input of this name in the next step."""
    return name.replace("past.", "present.", 1)


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


class _Graph:
    """One graph of a model, with arrays by name. Raises DataError when the model has no such graph, or another kind of it."""

    def __init__(self, model: OnnxModel, name: str) -> None:
        session = model.sessions.get(name)
        if session is None:
            raise DataError(f"the export has no graph called '{name}', and its model writes", REPAIR)
        self._session = session
        self._inputs = {value.name: value.shape for value in session.get_inputs()}
        self._outputs = [value.name for value in session.get_outputs()]
        self._kept = [name for name in self._inputs if name.startswith("past.")]
        shapes = [self._inputs[name] for name in self._kept]
        if any(len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int) for shape in shapes):
            raise DataError(f"the graph '{name}' does not say how many numbers it keeps between two tokens", REPAIR)
        lost = {*map(_after, self._kept), *(["logits"] if name == "decoder" else [])} - {*self._outputs}
        if lost:
            raise DataError(f"the graph '{name}' does not give '{min(lost)}'", REPAIR)

    def nothing_kept(self, rows: int) -> Arrays:
        """Keys and values (rows, heads, 0, D) of no token, for each layer."""
        shapes = {name: self._inputs[name] for name in self._kept}
        return {name: np.zeros((rows, shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items()}

    def run(self, given: Arrays, only: list[str] | None = None) -> Arrays:
        """Arrays for the inputs, of which those that the graph does not have are left out -> its outputs, or only some."""
        wanted = only or self._outputs
        try:
            made = self._session.run(wanted, {name: array for name, array in given.items() if name in self._inputs})
        except Exception as error:  # its errors have no class of their own but Exception
            raise DataError(f"the graph cannot answer: {' '.join(str(error).split())[:200]}") from None
        return dict(zip(wanted, made, strict=True))
