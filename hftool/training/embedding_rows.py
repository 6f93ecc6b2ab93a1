"""The gradient of a word embedding on the CPU: only the rows of tokens that occur in a step are computed, measured and scaled.

The rest of the table is zeros (47 MB for BERT's vocabulary and a width of 384), which would be written, summed for the norm,
scaled and freed at every step. The optimizer updates every row all the same.
"""

from typing import Any

import torch
from torch.nn.functional import embedding


class EmbeddingRows:
    """The gradient of an embedding whose weight is used by nothing else.

    Args:
        module: The embedding.
    """

    def __init__(self, module: torch.nn.Embedding) -> None:
        self.module: Any = module
        self.buffer: torch.Tensor | None = None  # the dense gradient, kept: zero but for the rows of the last step
        self.ids: torch.Tensor | None = None  # of these rows

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """The forward pass of the embedding; its backward pass gives a sparse gradient."""
        return embedding(ids, self.module.weight, self.module.padding_idx, sparse=True)

    def store(self) -> None:
        """Replace a sparse gradient of the weight by the dense one."""
        gradient = self.module.weight.grad
        if gradient is None or not gradient.is_sparse:
            return
        gradient = gradient.coalesce()
        if self.buffer is None:
            self.buffer = torch.zeros_like(self.module.weight, requires_grad=False)
        if self.ids is not None:
            self.buffer.index_fill_(0, self.ids, 0)
        self.ids = gradient.indices()[0]
        self.module.weight.grad = self.buffer.index_copy_(0, self.ids, gradient.values())


def embedding_rows(model: Any) -> EmbeddingRows | None:
    """The rows of the word embedding of a model; None if its weight is frozen, or also that of the output layer."""
    module, output = model.get_input_embeddings(), model.get_output_embeddings()
    if (
        type(module) is not torch.nn.Embedding
        or not module.weight.requires_grad
        or module.max_norm
        or module.scale_grad_by_freq
    ):
        return None
    if output is not None and output.weight is module.weight:
        return None
    return EmbeddingRows(module)
