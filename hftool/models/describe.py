"""What a model is and needs, counted without loading its weights."""

import contextlib
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.models.families import family_of, read_config
from hftool.models.quiet import quiet
from hftool.models.size_limits import building_within
from hftool.models.stored_weights import read_stored, untie


def meta_model(config: Any, auto_class: str, folder: Path | None = None) -> Any:
    """The model's modules without weights (on the meta device): to count parameters and bytes in no time.

    folder: where the config is from. Raises DataError when it describes no model, or one that its weights cannot be of.
    """
    import torch
    import transformers

    guard = building_within(folder) if folder else contextlib.nullcontext()
    with guard, torch.device("meta"), quiet():
        try:
            return getattr(transformers, auto_class).from_config(config)
        except Exception as error:  # whatever a class stumbles over: heads that do not divide a width, an unknown activation
            fault = " ".join(str(error).split())[:200]
            raise DataError(
                f"the config of '{folder or type(config).__name__}' describes no model that can be built: {fault}"
            ) from None


def describe(folder: Path, auto_class: str, *, batch_size: int, length: int) -> dict[str, Any]:
    """Architecture, parameters by part, bytes, and memory at a batch of (batch_size, length) tokens, without weights.

    Activations by Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, eq. 2, which
    counts 2 bytes a number: s*b*h*(34 + 5*a*s/h) a layer; fp32 holds twice that. Training adds, besides the weights,
    gradients and the two moments of AdamW. An estimate, good to about a third.
    """
    config = read_config(folder)
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
    a_layer = 2 * length * batch_size * (34 * hidden + 5 * heads * length)
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
        "memory_to_infer": weights + a_layer,
        "memory_to_train": 4 * weights + layers * a_layer,
    }
