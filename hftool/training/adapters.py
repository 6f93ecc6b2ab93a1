"""Low-rank adapters (LoRA) through peft, merged into the weights after training.

Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685; on every matrix of the body instead of two in each layer, as in
https://arxiv.org/abs/2305.14314, section 4.
"""

import warnings
from typing import Any, cast

import torch

LEARNING_RATE = 2e-4  # adapters start at zero and take larger steps than pretrained weights
ALPHA = 2  # the output of adapters is scaled by 2, whatever their rank
DROPOUT = 0.05


def add_adapters(model: Any, rank: int) -> Any:
    """Freeze the body of a model, add adapters to its matrices, and set it to eval mode; the head stays trainable.

    The model is changed in place and its outputs stay the same; peft's wrapper of it, for `merge_adapters`, is returned. Draws
    from torch's random generator.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from transformers.pytorch_utils import Conv1D

    body, vocabulary = model.base_model, model.get_output_embeddings()
    # a pooler is in the body but belongs to the head: checkpoints may lack it
    body_ids = {id(parameter) for name, parameter in body.named_parameters() if "pooler." not in name}
    pretrained = vocabulary.weight if vocabulary is not None else None  # with the body, whether or not tied to the embedding
    head = [parameter for parameter in model.parameters() if id(parameter) not in body_ids and parameter is not pretrained]
    matrices = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not vocabulary and id(module.weight) in body_ids
    }
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA * rank,
        lora_dropout=DROPOUT,
        target_modules=list(matrices),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in matrices.values()),  # GPT-2's are (in, out)
    )
    adapted = LoraModel(model, config, "default")
    for parameter in head:
        parameter.requires_grad = True
    model.eval()
    return adapted


def merge_adapters(adapted: Any) -> torch.nn.Module:
    """Add the adapters to their matrices and remove them -> the plain model, with all weights trainable."""
    config = adapted.model.config
    tied = getattr(config, "tie_word_embeddings", None)
    with warnings.catch_warnings():
        # a head that is not tied was not before either; peft would save a config that loses BERT's biases
        warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
        model = cast("torch.nn.Module", adapted.merge_and_unload())
    if tied:
        config.tie_word_embeddings = tied
    return model.requires_grad_(True)


def learning_share(model: torch.nn.Module) -> float:
    """The share of the weights that are trainable, from 0 to 1."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trainable in sizes if trainable) / sum(size for size, _ in sizes)
