"""`--batch-size auto`: the largest batch that fits into memory and is no slower per row, by a rule that times nothing.

The rule reads the model, the lengths of the rows and the size of the memory, so that it chooses the same on the same machine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.batches import step_batches
from hftool.machine import total_memory_of

CHOICES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # rows
LEAST_STEPS = (
    200  # of a run, above the smallest usual batch: with larger batches and the same learning rate it would learn less
)
USUAL = 8  # rows; memory alone makes the batch smaller than this
SHARE = 0.5  # of the memory: the estimate is good to about a third, and other processes need some
SAMPLE = 20_000  # rows whose padding is measured
FLOPS_PER_BYTE = 10  # of a machine, about: operations in the time in which memory moves a byte
OPTIMIZER_BYTES = 40  # moved for each parameter in a step: weight, gradient and two moments of AdamW, the norm, and clipping


@dataclass(frozen=True)
class ModelSize:
    """What the memory and the time of a step depend on.

    Args:
        parameters: All of them.
        layers: Encoder and decoder together.
        hidden: The width.
        heads: Of attention in each layer.
        outputs: Numbers that the head computes for each token: the vocabulary where it predicts tokens, else 0.
    """

    parameters: int
    layers: int
    hidden: int
    heads: int
    outputs: int = 0

    def bytes_to_train(self, rows: int, length: int) -> int:
        """An estimate of the memory to train on a batch of `rows` rows of `length` tokens, in fp32.

        Activations by Korthikanti et al., 2022, eq. 2, as in `hftool info`; weights, gradients and the moments of AdamW; and
        logits, their logarithms and their gradient.
        """
        layer = 2 * length * rows * (34 * self.hidden + 5 * self.heads * length)
        return 16 * self.parameters + self.layers * layer + 12 * rows * length * self.outputs


def model_size(model: Any) -> ModelSize:
    """The size of a model of transformers."""
    config = model.config

    def _read(*names: str) -> int:
        return next((int(value) for name in names if isinstance(value := getattr(config, name, None), int)), 0)

    layers = _read("num_hidden_layers", "n_layer", "num_layers") + (
        _read("num_decoder_layers") if getattr(config, "is_encoder_decoder", False) else 0
    )
    output = model.get_output_embeddings()
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=layers,
        hidden=_read("hidden_size", "n_embd", "d_model"),
        heads=_read("num_attention_heads", "n_head", "num_heads"),
        outputs=0 if output is None else int(output.weight.shape[0]),
    )


def auto_batch_size(
    size: ModelSize, lengths: Sequence[int], *, memory: int, window: int, epochs: float, max_steps: int | None, others: int = 1
) -> int:
    """The rows of a batch: the largest power of two up to 256 that keeps three bounds.

    1. The estimate of the memory for the longest rows is at most half of `memory`.
    2. The estimate of the time of a row, with its padding and its share of the optimizer, is no more than with fewer rows.
    3. The run has at least 200 steps; this bound does not make the batch smaller than 8.

    Args:
        size: Of the model.
        lengths: Tokens of each row.
        memory: Bytes of the device, for this process.
        window: Steps whose rows are sorted together.
        epochs: Of the run.
        max_steps: Of the run, which overrides `epochs`.
        others: Batches of this size in a step: accumulated ones times processes.
    """
    longest, rows = max(lengths), len(lengths) * epochs
    some = lengths[:: math.ceil(len(lengths) / SAMPLE)]
    chosen, least = CHOICES[0], math.inf
    for choice in CHOICES:
        if size.bytes_to_train(choice, longest) > SHARE * memory:
            break
        if choice > USUAL and max_steps is None and rows / (choice * others) < LEAST_STEPS:
            break
        seconds = _time_of_row(size, some, choice, window)
        if seconds <= least:
            chosen, least = choice, seconds
    return chosen


def _time_of_row(size: ModelSize, lengths: Sequence[int], rows: int, window: int) -> float:
    """The time of a row in batches of `rows` rows, in operations."""
    batches = step_batches(lengths, size=rows, window=window, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    weights = 12 * size.layers * size.hidden**2 + size.hidden * size.outputs
    return 6 * weights * padded / len(lengths) + FLOPS_PER_BYTE * OPTIMIZER_BYTES * size.parameters / rows


def memory_of(device: str, processes: int) -> int:
    """Bytes of memory for one of the processes that share a machine: of its GPU, or of main memory."""
    return total_memory_of(device) // (1 if device.startswith("cuda") else processes)
