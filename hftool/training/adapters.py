"""Low-rank adapters: a few weights beside each matrix learn, the matrices stay, and in the end the two are added up.

Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685, as peft has it; beside every matrix of the body, and not two of each
layer as there: https://arxiv.org/abs/2305.14314, section 4.
"""

import warnings
from typing import Any, cast

import torch

LEARNING_RATE = 2e-4  # adapters start from nothing, and take larger steps than weights that know something
ALPHA = 2  # what adapters say counts twice, whatever their rank
DROPOUT = 0.05


def add_adapters(model: Any, rank: int) -> Any:
    """Freeze the body of a model, put adapters of this rank beside its matrices, and leave it in eval mode; the head learns
    whole. The model itself is changed, and answers as before. -> peft's handle of it, for `merge_adapters`.

    Draws from torch's generator.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from transformers.pytorch_utils import Conv1D

    body, vocabulary = model.base_model, model.get_output_embeddings()
    inside = {id(parameter) for name, parameter in body.named_parameters() if not _is_head(name)}
    trained_before = vocabulary.weight if vocabulary is not None else None  # with the body, whether or not it is the embedding
    head = [parameter for parameter in model.parameters() if id(parameter) not in inside and parameter is not trained_before]
    matrices = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not vocabulary and id(module.weight) in inside
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


def _is_head(name: str) -> bool:
    """A pooler lies in the body, but belongs to what a task adds: checkpoints may lack it."""
    return "pooler." in name


def merge_adapters(adapted: Any) -> torch.nn.Module:
    """Add the adapters to their matrices and take them away: the plain model again, all of whose weights may learn."""
    config = adapted.model.config
    tied = getattr(config, "tie_word_embeddings", None)
    with warnings.catch_warnings():
        # a head that is not the embedding was so before; peft would write a config by which BERT's biases are lost
        warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
        model = cast("torch.nn.Module", adapted.merge_and_unload())
    if tied:
        config.tie_word_embeddings = tied
    return model.requires_grad_(True)


def learning_share(model: torch.nn.Module) -> float:
    """The share of the weights that learn, from 0 to 1."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns) / sum(size for size, _ in sizes)
