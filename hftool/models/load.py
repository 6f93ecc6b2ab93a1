"""Loads and saves models with their tokenizers and head configs.

A saved model is a plain Hugging Face folder that `from_pretrained` loads, plus `hftool.json`.
"""

import copy
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, StorageError, brief
from hftool.machine import use_huge_pages
from hftool.models.config_facts import auto_class_of, family_of, read_model_config
from hftool.models.head_config import HEAD_CONFIG, HeadConfig, read_head_config, write_head_config
from hftool.models.quiet import quiet
from hftool.models.sha256sums import check_loaded
from hftool.models.stored_weights import Stored, read_stored, untie
from hftool.models.tokenizer import load_tokenizer, save_tokenizer
from hftool.models.untrusted_sizes import building_within
from hftool.registry.families import FAMILIES, Family
from hftool.registry.heads import head_spec

# buffers that older transformers saved with the weights, and parameters of wrapper classes
LEFT_OVER = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|_weight)$|(^|\.)attn\.bias$")
LAYER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Loaded:
    """A transformers model in eval mode with fp32 weights, and all that is needed to use it."""

    model: Any
    tokenizer: Any
    head_config: HeadConfig
    family: Family
    new_weights: tuple[str, ...] = ()  # the names of weights that are randomly initialized
    notes: tuple[str, ...] = ()  # notes for the user on how it was loaded, one sentence each
    precision: str = "auto"  # number format of answers; `auto` is the fastest that chooses as fp32 does


def load_model(
    folder: Path,
    auto_class: str,
    *,
    head_config: HeadConfig,
    new_head: bool,
    device: str = "cpu",
    config: Any = None,
    tokenizer: Any = None,
) -> Loaded:
    """Load a model in eval mode, with fp32 weights whatever the checkpoint holds.

    `new_head`: whether head weights may be missing, because they are to be trained. `config` (which is not changed) and
    `tokenizer` are those of the folder, read where they are None.

    Raises:
        ConfigError: Weights are missing or left over, or the parts of the folder do not fit together.
        DataError: A file is damaged.
        HftoolError: What `check_folder` raises.
    """
    use_huge_pages()
    config = read_model_config(folder) if config is None else copy.deepcopy(config)
    check_loaded(folder)
    tokenizer = load_tokenizer(folder, config) if tokenizer is None else tokenizer
    _set_labels(config, head_config)
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    # a token without an embedding would crash at the first text that has it
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        what = f"'{folder}' does not fit together: its tokenizer has {len(tokenizer)} tokens, its model {size}"
        raise ConfigError(what, "Take tokenizer and weights from the same model")
    stored = read_stored(folder)
    model, info = _from_pretrained(folder, auto_class, config, stored, new_head=new_head)
    new = tuple(sorted({*info["missing_keys"], *(row[0] for row in info["mismatched_keys"])}))
    if head_spec(head_config.head).embeds:  # embeddings do not use the pooler, which many checkpoints lack
        new = tuple(name for name in new if "pooler." not in name)
    _check_new_weights(folder, model, new, new_head=new_head)
    _check_unused(folder, model, info["unexpected_keys"])
    # transformers would reverse the renaming of wrapped weights when it saves the model
    if stored.renamed:
        names = {*stored.renamed.values()}
        model._weight_conversions = [c for c in model._weight_conversions if not names & {*c.target_patterns}]
    notes = (stored.note,) if stored.note else ()
    return Loaded(model.to(device).eval(), tokenizer, head_config, family_of(config), new, notes)


def _from_pretrained(
    folder: Path, auto_class: str, config: Any, stored: Stored, *, new_head: bool
) -> tuple[Any, dict[str, Any]]:
    """The model and transformers' loading info. Raises ConfigError, DataError."""
    import torch
    import transformers

    with quiet(), warnings.catch_warnings(action="ignore"), building_within(folder):
        try:
            model, info = getattr(transformers, auto_class).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=new_head,
                key_mapping={f"^{re.escape(name)}$": clean for name, clean in stored.renamed.items()} or None,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"the weights in '{folder}' do not fit: {brief(error, 300)}") from None
        except Exception as error:  # SafetensorError is a bare Exception
            raise DataError(f"the weights in '{folder}' cannot be read: {brief(error)}") from error
    return model, info


def _set_labels(config: Any, head_config: HeadConfig) -> None:
    if head_config.problem_type == "regression":
        config.num_labels, config.problem_type = 1, "regression"
    elif head_config.labels:
        config.num_labels = len(head_config.labels)
        config.id2label = dict(enumerate(head_config.labels))
        config.label2id = {name: i for i, name in enumerate(head_config.labels)}
        config.problem_type = head_config.problem_type


def _check_new_weights(folder: Path, model: Any, new: tuple[str, ...], *, new_head: bool) -> None:
    """Raise ConfigError for missing weights: of the head unless it is to be trained, of the body always."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."  # a bare body has no prefix
    body = [name for name in new if name.startswith(prefix) and "pooler." not in name]
    if body:
        raise ConfigError(f"the weights in '{folder}' are of another architecture: they lack {', '.join(body[:5])}")
    if new and not new_head:
        what = f"the model in '{folder}' has no trained head: it lacks {', '.join(new[:5])}"
        raise ConfigError(what, "Fine-tune it first: hftool finetune MODEL TASK")


def _check_unused(folder: Path, model: Any, unexpected: Iterable[str]) -> None:
    """Raise ConfigError for stored weights of the body that the config does not describe; those of another head are ignored.

    Checkpoints of an architecture without a registry row may hold unused weights: only their layers are checked.
    """
    body = model.base_model
    parts = {name for name, _ in (*body.named_children(), *body.named_parameters(recurse=False))}
    known = family_of(model.config) in FAMILIES
    names = [
        name
        for name in sorted(unexpected)
        if name.removeprefix(f"{model.base_model_prefix}.").partition(".")[0] in parts
        and not LEFT_OVER.search(name)
        and (known or LAYER.search(name))
    ]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ConfigError(
            f"the weights in '{folder}' do not fit its config.json, which has no parameters for {', '.join(names[:5])}{more}",
            "Take config.json from where the weights come from: without these weights the output would differ",
        )


def save_model(model: Any, tokenizer: Any, head_config: HeadConfig, folder: Path) -> None:
    """Write weights (safetensors), config, tokenizer and head config into an existing folder. Raises StorageError."""
    from safetensors import SafetensorError

    with quiet():
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:  # raised for a full disk, in place of OSError
            raise StorageError(f"the model could not be written into '{folder}': {error}", "Free some space") from error
    save_tokenizer(tokenizer, folder)
    write_head_config(folder, head_config)


def save_base(loaded: Loaded, folder: Path) -> None:
    """Write config, tokenizer and head config, without weights, into an existing folder; `load_base` reads them."""
    with quiet():
        loaded.model.config.save_pretrained(folder)
    save_tokenizer(loaded.tokenizer, folder)
    write_head_config(folder, loaded.head_config)


def load_base(folder: Path, weights: Path) -> Loaded:
    """Build the model that `save_base` saved, with random weights, tied as in the folder `weights`, which are loaded later.

    Raises ConfigError (there is no hftool.json), and what `read_model_config` raises.
    """
    import transformers

    head_config = read_head_config(folder)
    if head_config is None:
        raise ConfigError(f"'{folder}' has no {HEAD_CONFIG}", "The run was damaged, or made by another version of hftool")
    config = read_model_config(folder, weights=False)
    tokenizer = load_tokenizer(folder, config)
    with quiet(), building_within(folder):
        model = getattr(transformers, auto_class_of(head_config.head, config)).from_config(config)
    untie(model, read_stored(weights))
    return Loaded(model.eval(), tokenizer, head_config, family_of(config))
