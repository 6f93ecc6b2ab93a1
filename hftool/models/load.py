"""A folder to a model with its tokenizer and card, and back. Every model that hftool loads or saves goes through here.

A saved model is a plain Hugging Face folder that `from_pretrained` loads, plus `hftool.json`, the card.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, StorageError
from hftool.models.checksums import check_loaded
from hftool.models.families import auto_class_of, family_of, read_config
from hftool.models.head_config import HEAD_CONFIG, HeadConfig, read_head_config, write_head_config
from hftool.models.quiet import quiet
from hftool.models.size_limits import building_within
from hftool.models.stored_weights import Stored, read_stored, untie
from hftool.models.tokenizer import load_tokenizer, save_tokenizer
from hftool.registry.heads import head_spec
from hftool.registry.models import FAMILIES, Family

UNLIMITED = 10**6  # tokens; tokenizers that were trained on the spot say 10**30
# buffers that older releases of transformers wrote beside the weights, and parameters that only their wrappers have
LEFT_OVER = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|_weight)$|(^|\.)attn\.bias$")
LAYER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode with fp32 weights, its tokenizer, its card, and the parts of it that are not trained yet.

    notes: what whoever uses it should know of how it was loaded, a sentence each.
    """

    model: Any
    tokenizer: Any
    head_config: HeadConfig
    family: Family
    new_weights: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def length_limit(tokenizer: Any, config: Any) -> int:
    """The longest input in tokens that the model can take, special tokens included."""
    limit = min(_positions(config), int(min(tokenizer.model_max_length, UNLIMITED)))
    return limit if limit < UNLIMITED else family_of(config).length or limit


def check_length(head_config: HeadConfig, config: Any, folder: Path) -> None:
    """Raise DataError when a card lets a model read more tokens than it has positions."""
    if head_config.max_length > _positions(config):
        fault = f"'max_length' is {head_config.max_length}, and the model has {_positions(config)} positions"
        raise DataError(f"'{folder / HEAD_CONFIG}' does not fit the model: {fault}", "Put the file back as it was written")


def _positions(config: Any) -> int:
    """The tokens for which a model has positions. Raises DataError when there are none."""
    count = int(getattr(config, "max_position_embeddings", 0) or UNLIMITED)
    offset = family_of(config).position_offset
    if offset and getattr(config, "pad_token_id", None) is not None:
        offset = int(config.pad_token_id) + 1  # such a family counts from there; its checkpoints, but not all, pad with 1
    if count <= offset:
        raise DataError(f"the config has {count} positions, of which {offset} are none of a token", "Take the model's own")
    return count - offset


def load_model(folder: Path, auto_class: str, *, head_config: HeadConfig, new_head: bool, device: str = "cpu") -> Loaded:
    """Load with fp32 weights, whatever the checkpoint holds, in eval mode.

    auto_class: the class of transformers that the head asks for, such as AutoModelForSequenceClassification.
    new_head: whether weights may be missing (a head to be trained). Without it a missing one is ConfigError: a model
    with a random head never answers. Raises what `check_folder` raises, DataError, ConfigError.
    """
    import torch
    import transformers

    config = read_config(folder)
    check_loaded(folder)
    tokenizer = load_tokenizer(folder, config)
    if head_config.problem_type == "regression":
        config.num_labels, config.problem_type = 1, "regression"
    elif head_config.labels:
        config.num_labels = len(head_config.labels)
        config.id2label = dict(enumerate(head_config.labels))
        config.label2id = {name: i for i, name in enumerate(head_config.labels)}
        config.problem_type = head_config.problem_type
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    _check_vocabulary(folder, tokenizer, config)
    stored = read_stored(folder)
    with quiet(), _without_warnings(), building_within(folder):
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
            raise ConfigError(f"the weights in '{folder}' do not fit: {' '.join(str(error).split())[:300]}") from None
        except Exception as error:  # SafetensorError is a bare Exception
            raise DataError(f"the weights in '{folder}' cannot be read: {' '.join(str(error).split())[:200]}") from error
    new = tuple(sorted({*info["missing_keys"], *(row[0] for row in info["mismatched_keys"])}))
    if head_spec(head_config.head).embeds:  # of the last hidden states: the pooler, which many checkpoints lack, is no part
        new = tuple(name for name in new if "pooler." not in name)
    _check_new_weights(folder, model, new, new_head=new_head)
    _check_unused(folder, model, info["unexpected_keys"])
    _forget_wrappers(model, stored)
    notes = (stored.note,) if stored.note else ()
    return Loaded(model.to(device).eval(), tokenizer, head_config, family_of(config), new, notes)


def _forget_wrappers(model: Any, stored: Stored) -> None:
    """Else transformers would save the model under the names that its file had."""
    if stored.renamed:
        names = {*stored.renamed.values()}
        model._weight_conversions = [one for one in model._weight_conversions if not names & {*one.target_patterns}]


def _check_vocabulary(folder: Path, tokenizer: Any, config: Any) -> None:
    """A token without an embedding would end a run, or worse, an answer, at the first text that holds it."""
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise ConfigError(
            f"'{folder}' does not fit together: its tokenizer has {len(tokenizer)} tokens, its model {size}",
            "Take tokenizer and weights from the same model",
        )


def _check_new_weights(folder: Path, model: Any, new: tuple[str, ...], *, new_head: bool) -> None:
    """A missing head is right before training; a missing layer of the model's body never is: another architecture."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."  # a body alone has none before its layers
    body = [name for name in new if name.startswith(prefix) and "pooler." not in name]
    if body:
        raise ConfigError(f"the weights in '{folder}' are of another architecture: they lack {', '.join(body[:5])}")
    if new and not new_head:
        raise ConfigError(
            f"the model in '{folder}' has no trained head: it lacks {', '.join(new[:5])}",
            "Fine-tune it first: hftool finetune MODEL TASK",
        )


def _check_unused(folder: Path, model: Any, unexpected: Iterable[str]) -> None:
    """Weights of another head are no part of this model; weights of a body that the config does not describe are one of it.

    An architecture without a row in the registry may have kept more than it uses: only its layers are looked at.
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
            f"the weights in '{folder}' do not fit its config.json, which has no place for {', '.join(names[:5])}{more}",
            "Take config.json from where the weights come from: without these weights the answers would be others",
        )


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def save_model(model: Any, tokenizer: Any, head_config: HeadConfig, folder: Path) -> None:
    """Write weights (safetensors), config, tokenizer and card into an existing folder. Raises StorageError."""
    from safetensors import SafetensorError

    with quiet():
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:  # a full disk is no OSError there
            raise StorageError(f"the model could not be written into '{folder}': {error}", "Free some space") from error
    save_tokenizer(tokenizer, folder)
    write_head_config(folder, head_config)


def save_base(loaded: Loaded, folder: Path) -> None:
    """Write config, tokenizer and card, without weights, into an existing folder: `load_base` reverses it."""
    with quiet():
        loaded.model.config.save_pretrained(folder)
    save_tokenizer(loaded.tokenizer, folder)
    write_head_config(folder, loaded.head_config)


def load_base(folder: Path, weights: Path) -> Loaded:
    """The model that `save_base` described, with weights still to come: those of the folder `weights`, which tell what is tied.

    Raises what `read_config` raises, ConfigError.
    """
    import transformers

    head_config = read_head_config(folder)
    if head_config is None:
        raise ConfigError(f"'{folder}' has no {HEAD_CONFIG}", "The run was damaged, or made by another version of hftool")
    config = read_config(folder, weights=False)
    tokenizer = load_tokenizer(folder, config)
    with quiet(), building_within(folder):
        model = getattr(transformers, auto_class_of(head_config.head, config)).from_config(config)
    untie(model, read_stored(weights))
    return Loaded(model.eval(), tokenizer, head_config, family_of(config))
