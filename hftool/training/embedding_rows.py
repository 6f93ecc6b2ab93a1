"""The gradient of a word embedding on the CPU: only the rows of tokens that occur in a step are computed, measured and scaled.

The gradient of the whole table is mostly zeros (47 MB for BERT's vocabulary and a width of 384), which would be cleared, summed
for the norm and scaled at every step. The optimizer still updates every row.
"""

from typing import Any

import torch


class EmbeddingRows:
    """The gradient of an embedding whose weight is used by nothing else.

    Args:
        embedding: From now on its backward pass gives sparse gradients.
    """

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        self.weight = embedding.weight
        embedding.sparse = True
        self.gradient = torch.zeros_like(self.weight, requires_grad=False)  # kept: zero but for the rows of the last step
        self.ids: torch.Tensor | None = None
        self.rows: torch.Tensor | None = None  # of a step, from `take` until `store`

    def take(self) -> torch.Tensor | None:
        """The rows (tokens, H) of the sparse gradient of a step, each token once, to be changed in place before `store`.

        The weight has no gradient until then. None if it has no sparse one.
        """
        sparse = self.weight.grad
        if sparse is None or not sparse.is_sparse:
            return None
        sparse = sparse.coalesce()
        if self.ids is not None:
            self.gradient[self.ids] = 0
        self.ids, self.rows, self.weight.grad = sparse.indices()[0], sparse.values(), None
        return self.rows

    def store(self) -> None:
        """Make the rows of `take` the dense gradient of the weight."""
        if self.rows is not None:
            self.gradient[self.ids] = self.rows
            self.weight.grad, self.rows = self.gradient, None


def embedding_rows(model: Any) -> EmbeddingRows | None:
    """The rows of the word embedding of a model; None if its weight is frozen, or also that of the output layer."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embedding) is not torch.nn.Embedding or not embedding.weight.requires_grad:
        return None
    if output is not None and output.weight is embedding.weight:
        return None
    return EmbeddingRows(embedding)


def gradients(model: torch.nn.Module, rows: EmbeddingRows | None) -> list[torch.Tensor]:
    """The gradients of a step; of an embedding with sparse gradients only the rows that are not zero, until `store`."""
    taken = None if rows is None else rows.take()
    dense = [p.grad for p in model.parameters() if p.grad is not None]
    return dense if taken is None else [*dense, taken]
