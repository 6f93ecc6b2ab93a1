"""Facts from a checkpoint's config: its family, its natural head, and the auto class of transformers for a head."""

from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, brief
from hftool.models.safety import check_folder, is_export
from hftool.models.untrusted_sizes import check_settings
from hftool.registry.families import Family, find_family
from hftool.registry.heads import Architecture, all_heads, head_spec, pretraining_head

# architectures without a registry row that count positions from the pad token's id on, as RoBERTa does
# (create_position_ids_from_input_ids)
COUNT_FROM_PAD = (
    *("camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet"),
    *("roberta-prelayernorm", "xlm-roberta-xl", "xmod"),
)


def read_model_config(folder: Path, *, weights: bool = True, exported: bool = False) -> Any:
    """The transformers config of a folder, after all safety checks; no code of the folder is executed.

    `weights`: whether the folder must hold weights; `exported`: whether ONNX graphs count as weights.

    Raises:
        ConfigError: There are graphs where weights are needed.
        HftoolError: What `check_folder` and `check_settings` raise.
    """
    from transformers import AutoConfig

    check_folder(folder, weights=weights)
    check_settings(folder)
    if weights and not exported and is_export(folder):
        what = f"'{folder}' is an export: its graphs run, but have no weights to be trained or saved"
        raise ConfigError(what, "Use the run or the model folder that was exported")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if getattr(config, "chunk_size_feed_forward", 0):
            config.chunk_size_feed_forward = 0  # it only saves memory, and fails unless the length is a multiple of it
        return config
    except Exception as error:  # values of a wrong type raise any error
        raise DataError(f"'{folder / 'config.json'}' is not a config that transformers knows: " + brief(error)) from None


def family_of(config: Any) -> Family:
    """The family of a checkpoint, by the `model_type` of its config.

    An architecture without a registry row gets a family from its config, in fp32 only: bf16 is untested for it.
    """
    kind = str(config.model_type)
    found = find_family(kind)
    if found is not None:
        return found
    shape: Architecture = "encoder-decoder" if config.is_encoder_decoder else "decoder" if _is_decoder(config) else "encoder"
    # nearly every encoder has a causal class, but without a causal mask it sees the tokens it predicts, and learns nothing
    able = [spec for spec in all_heads() if spec.natural_of != "decoder" or shape == "decoder"]
    known = [spec.name for spec in able if _auto_class_knows(spec.auto_class, config)]
    own: tuple[tuple[str, str], ...] = ()
    if shape == "encoder" and pretraining_head(shape) in known:  # AutoModelForTextEncoding lacks MPNet, ModernBERT
        own = tuple((spec.name, spec.encoder_auto_class) for spec in able if spec.encoder_auto_class and spec.name not in known)
    return Family(
        kind,
        kind,
        shape,
        safe_dtypes=("float32",),
        prompt_padding_side="left" if shape == "decoder" else "right",
        position_offset=2 if kind in COUNT_FROM_PAD else 0,
        auto_classes=own,
        own_heads=(*known, *(name for name, _ in own)),
    )


def _auto_class_knows(auto_class: str, config: Any) -> bool:
    import transformers

    return type(config) in getattr(transformers, auto_class)._model_mapping


def _is_decoder(config: Any) -> bool:
    """Whether it is a causal language model; architectures that also fill masks count as encoders."""
    return _auto_class_knows("AutoModelForCausalLM", config) and not _auto_class_knows("AutoModelForMaskedLM", config)


def natural_head_of(folder: Path, config: Any) -> str:
    """The head of a checkpoint without hftool.json: by the class that its config names, else by its family.

    A modules.json marks a sentence-transformers model, which embeds, whatever class its config names.
    """
    family = family_of(config)
    embeds = [spec.name for spec in all_heads() if spec.embeds and spec.name in family.heads]
    if embeds and (folder / "modules.json").is_file():
        return embeds[0]
    names = [str(name) for name in getattr(config, "architectures", None) or ()]
    found = [
        spec.name for name in names for spec in all_heads() if name.endswith(spec.class_suffixes) and spec.name in family.heads
    ]
    return found[0] if found else family.natural


def auto_class_of(head: str, config: Any) -> str:
    """The auto class of transformers that loads a model of this config with `head`."""
    return family_of(config).auto_class(head, head_spec(head).auto_class)
