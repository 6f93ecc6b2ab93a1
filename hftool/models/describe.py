"""Architecture, parameter counts and memory estimates of a model, without loading its weights."""

import contextlib
from pathlib import Path
from typing import Any

from hftool.errors import DataError, brief
from hftool.models.config_facts import family_of, read_model_config
from hftool.models.quiet import quiet
from hftool.models.stored_weights import read_stored, untie
from hftool.models.untrusted_sizes import building_within


def meta_model(config: Any, auto_class: str, folder: Path | None = None) -> Any:
    """The model's modules on the meta device, without weights, to count parameters and bytes quickly.

    The weights of `folder` limit its size.

    Raises:
        DataError: The config describes no model, or one far larger than the weights.
    """
    import torch
    import transformers

    guard = building_within(folder) if folder else contextlib.nullcontext()
    with guard, torch.device("meta"), quiet():
        try:
            return getattr(transformers, auto_class).from_config(config)
        except Exception as error:  # any class may fail its own way: heads that do not divide a width, an unknown activation
            fault = brief(error)
            name = folder or type(config).__name__
            raise DataError(f"the config of '{name}' describes no model that can be built: {fault}") from None


def describe(folder: Path, auto_class: str, *, batch_size: int, length: int) -> dict[str, Any]:
    """Architecture, parameters by part, bytes, and memory for a batch of shape (batch_size, length), without weights.

    Activations by Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, eq. 2, which
    counts 2 bytes per number: s*b*h*(34 + 5*a*s/h) per layer; fp32 needs twice that. Training adds gradients and the two
    moments of AdamW to the weights. The estimate is good to about a third.
    """
    config = read_model_config(folder)
    model = meta_model(config, auto_class, folder)
    untie(model, read_stored(folder))
    body = model.base_model
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        inside = name.removeprefix(f"{model.base_model_prefix}.")
        part = inside.split(".")[0] if inside != name or body is model else "head"
        parts[part] = parts.get(part, 0) + parameter.numel()
    total = sum(parts.values())
    layers = int(getattr(config, "num_hidden_layers", 0))
    hidden, heads = int(getattr(config, "hidden_size", 0)), int(getattr(config, "num_attention_heads", 0))
    layer_bytes = 2 * length * batch_size * (34 * hidden + 5 * heads * length)
    weights = 4 * total
    return {
        "architecture": type(body).__name__,
        "family": family_of(config).name,
        "layers": layers,
        "hidden_size": hidden,
        "attention_heads": heads,
        "vocabulary": int(config.vocab_size),
        "parameters": total,
        "parameters_by_part": parts,
        "bytes_on_disk": sum(p.stat().st_size for p in folder.glob("*.safetensors")),
        "bytes_in_memory": weights,
        "batch_size": batch_size,
        "length": length,
        "memory_to_infer": weights + layer_bytes,
        "memory_to_train": 4 * weights + layers * layer_bytes,
    }
