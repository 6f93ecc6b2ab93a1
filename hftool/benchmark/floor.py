"""The floor of the work: operations and bytes that no engine can avoid, from the shape of the model and the tokens.

An encoder's forward pass on a text of T tokens is `T (2 P + 4 L T d)` operations, where `P` is the number of weights in the
matrices of its L layers of width d, less what the last layer leaves out where the head reads the first token alone. Training is
three forward passes, and 16 bytes of each parameter in every step of the optimizer. A decoder's step reads its weights once and
needs `2 (P + V d)` operations for each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPTIMIZER_BYTES = 16  # of a parameter in a step: weight, gradient and both moments of AdamW
LAYERS = ("layer.", "h.", "block.")  # in the names of the weights of the layers


@dataclass(frozen=True)
class Shape:
    """The shape of a model."""

    layers: int
    width: int
    weights: int  # in the matrices of the layers that a token passes
    output: int  # in the matrix of the head over the vocabulary, if it has one
    parameters: int

    @classmethod
    def of(cls, model: Any) -> "Shape":
        """The shape of a model of transformers; of an encoder-decoder that of its decoder."""
        config, part = model.config, getattr(model, "decoder", model)
        matrices = [
            weight.numel()
            for name, weight in part.named_parameters()
            if weight.dim() == 2 and any(f".{mark}" in f".{name}" for mark in LAYERS) and "relative_attention" not in name
        ]
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        return cls(
            layers=int(config.num_hidden_layers),
            width=int(config.hidden_size),
            weights=sum(matrices),
            output=head.weight.numel() if head is not None else 0,
            parameters=sum(weight.numel() for weight in model.parameters()),
        )

    def forward(self, lengths: Sequence[int], *, first_token: bool = False, head: bool = False) -> float:
        """Operations of a forward pass over texts of these lengths.

        Args:
            lengths: Tokens of each text.
            first_token: Whether the head reads the first token alone.
            head: Whether the matrix over the vocabulary is computed for every token.
        """
        width, tokens, squares = self.width, sum(lengths), sum(length * length for length in lengths)
        total = 2 * tokens * (self.weights + self.output * head) + 4 * self.layers * width * squares
        if first_token:  # keys and values of the last layer are still needed for every token
            skipped = tokens - len(lengths)
            total -= 2 * skipped * (self.weights // self.layers - 2 * width * width) + 4 * width * (squares - tokens)
        return float(total)

    def step(self) -> tuple[int, int]:
        """(weights read, operations of a row) of one step of generation."""
        return self.weights + self.output, 2 * (self.weights + self.output)
