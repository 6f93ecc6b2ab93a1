"""A folder to a model with its tokenizer and card, and back. Every model that hftool loads or saves goes through here.

A saved model is a plain Hugging Face folder that `from_pretrained` loads, plus `hftool.json`, the card.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, InputMissing, StorageError
from hftool.registry.models import Family, find_family
from hftool.run import read_json, write_json
from hftool.safety import check_folder

CARD = "hftool.json"
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


@dataclass(frozen=True)
class Card:
    """What a model needs to be used as it was trained. `labels` are names in id order, `label_values` what stood for
    them in the data; `stand_in` says which model answers in another's name, if one does."""

    head: str
    task: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    label_values: tuple[str, ...] = ()
    max_length: int = 0
    prefix: str = ""
    problem_type: str = "single_label_classification"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    base: str = ""
    revision: str = ""
    stand_in: Mapping[str, str] = field(default_factory=dict)
    class_weights: tuple[float, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode with fp32 weights, its tokenizer, its card, and the parts of it that are not trained yet."""

    model: Any
    tokenizer: Any
    card: Card
    family: Family
    new_weights: tuple[str, ...] = ()


def read_card(folder: Path) -> Card | None:
    """The card of a model folder, or None when it was not made by hftool. Raises ConfigError when it does not fit."""
    if not (folder / CARD).is_file():
        return None
    values = read_json(folder / CARD)
    known = {f.name for f in dataclasses.fields(Card)}
    if "head" not in values or set(values) - known:
        wrong = f"unknown keys {sorted(set(values) - known)}" if "head" in values else "no key 'head'"
        raise ConfigError(
            f"'{folder / CARD}' does not fit this version: {wrong}", "It was written by another version of hftool"
        )
    made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return Card(**made)


def write_card(folder: Path, card: Card) -> None:
    """Write hftool.json."""
    write_json(folder / CARD, dataclasses.asdict(card))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' tables, bars and warnings off stderr for a while: what matters of them we say ourselves."""
    from transformers.utils import logging

    noise: Any = logging  # its functions carry no types
    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


def family_of(config: Any) -> Family:
    """The family of a checkpoint, by the `model_type` of its config.

    An architecture without a row gets facts from its own config, bf16 aside: nobody has tried it here.
    """
    found = find_family(str(config.model_type))
    if found is not None:
        return found
    return Family(str(config.model_type), str(config.model_type), ("classify",), "right", 0, "", ("float32",), 5e-5)


def read_config(folder: Path, *, weights: bool = True) -> Any:
    """The transformers config of a checked folder, nothing of it executed. Raises Refused, DataError, InputMissing."""
    from transformers import AutoConfig

    check_folder(folder, weights=weights)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # values of a wrong type raise whatever the class of the config stumbles over
        raise DataError(
            f"'{folder / 'config.json'}' is not a config that transformers knows: " + " ".join(str(error).split())[:200]
        ) from None


def load_tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of a folder, with padding and truncation that its file may have baked in taken out, and a pad token.

    Raises InputMissing when there is none, DataError when it cannot be read, ConfigError when nothing can pad.
    """
    from transformers import AutoTokenizer

    # without any of these transformers makes up a tokenizer that knows no word, and says nothing
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise InputMissing(f"'{folder}' has no tokenizer", "Copy tokenizer.json, or vocab.txt, or vocab.json and merges.txt")
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exception for a damaged tokenizer.json
            raise DataError(f"the tokenizer in '{folder}' is damaged: {' '.join(str(error).split())[:200]}") from error
    _clear_lengths(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # GPT-2 has none; padding is masked, so any token does
    if tokenizer.pad_token is None:
        raise ConfigError(f"the tokenizer in '{folder}' has neither a pad token nor an end token", "Add one to it")
    tokenizer.padding_side = family_of(config).padding_side
    return tokenizer


def _clear_lengths(tokenizer: Any) -> None:
    """Take padding and truncation out: all-MiniLM-L6-v2 pads everything to 128 and cuts at 128 by its tokenizer.json, and
    every call that cuts leaves its own limit behind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # the few tokenizers written in Python have none
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()


def length_limit(tokenizer: Any, config: Any) -> int:
    """The longest input in tokens that the model can take, special tokens included."""
    offset = family_of(config).position_offset
    if offset and getattr(config, "pad_token_id", None) is not None:
        offset = int(config.pad_token_id) + 1  # such a family counts from there; its checkpoints, but not all, pad with 1
    positions = int(getattr(config, "max_position_embeddings", 0) or 10**6) - offset
    return min(positions, int(min(tokenizer.model_max_length, 10**6)))


def load_model(folder: Path, auto_class: str, *, card: Card, new_head: bool, device: str = "cpu") -> Loaded:
    """Load with fp32 weights, whatever the checkpoint holds, in eval mode.

    auto_class: the class of transformers that the head asks for, such as AutoModelForSequenceClassification.
    new_head: whether weights may be missing (a head to be trained). Without it a missing one is ConfigError: a model
    with a random head never answers. Raises what `check_folder` raises, DataError, ConfigError.
    """
    import torch
    import transformers

    config = read_config(folder)
    tokenizer = load_tokenizer(folder, config)
    if card.labels:
        config.num_labels = len(card.labels)
        config.id2label = dict(enumerate(card.labels))
        config.label2id = {name: i for i, name in enumerate(card.labels)}
        config.problem_type = card.problem_type
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    _check_vocabulary(folder, tokenizer, config)
    with quiet(), _without_warnings():
        try:
            model, info = getattr(transformers, auto_class).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=new_head,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"the weights in '{folder}' do not fit: {' '.join(str(error).split())[:300]}") from None
        except Exception as error:  # SafetensorError is a bare Exception
            raise DataError(f"the weights in '{folder}' cannot be read: {' '.join(str(error).split())[:200]}") from error
    new = tuple(sorted({*info["missing_keys"], *(row[0] for row in info["mismatched_keys"])}))
    _check_new_weights(folder, model, new, new_head=new_head)
    return Loaded(model.to(device).eval(), tokenizer, card, family_of(config), new)


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
    prefix = getattr(model, "base_model_prefix", "")
    body = [name for name in new if name.startswith(f"{prefix}.") and ".pooler." not in name]
    if body:
        raise ConfigError(f"the weights in '{folder}' are of another architecture: they lack {', '.join(body[:5])}")
    if new and not new_head:
        raise ConfigError(
            f"the model in '{folder}' has no trained head: it lacks {', '.join(new[:5])}",
            "Fine-tune it first: hftool finetune MODEL TASK",
        )


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def save_model(model: Any, tokenizer: Any, card: Card, folder: Path) -> None:
    """Write weights (safetensors), config, tokenizer and card into an existing folder. Raises StorageError."""
    from safetensors import SafetensorError

    _clear_lengths(tokenizer)
    with quiet():
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:  # a full disk is no OSError there
            raise StorageError(f"the model could not be written into '{folder}': {error}", "Free some space") from error
    write_card(folder, card)


def save_base(loaded: Loaded, folder: Path) -> None:
    """Write config, tokenizer and card, without weights, into an existing folder: `load_base` reverses it."""
    _clear_lengths(loaded.tokenizer)
    with quiet():
        loaded.model.config.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    write_card(folder, loaded.card)


def load_base(folder: Path, auto_class: str) -> Loaded:
    """The model that `save_base` described, with weights still to come. Raises what `read_config` raises, ConfigError."""
    import transformers

    card = read_card(folder)
    if card is None:
        raise ConfigError(f"'{folder}' has no {CARD}", "The run was damaged, or made by another version of hftool")
    config = read_config(folder, weights=False)
    tokenizer = load_tokenizer(folder, config)
    with quiet():
        model = getattr(transformers, auto_class).from_config(config)
    return Loaded(model.eval(), tokenizer, card, family_of(config))


def meta_model(config: Any, auto_class: str) -> Any:
    """The model's modules without weights (on the meta device): to count parameters and bytes in no time."""
    import torch
    import transformers

    with torch.device("meta"), quiet():
        return getattr(transformers, auto_class).from_config(config)


README = """---
library_name: transformers
pipeline_tag: text-classification
{base_line}tags:
- hftool
---

# {task}

Fine-tuned from `{base}`{revision} with hftool for `{head}` on {task}.{stand_in}

Labels, in id order: {labels}. Texts are cut at {max_length} tokens.

{metrics}

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```
"""


def write_readme(folder: Path, card: Card) -> None:
    """Write the README.md of a model folder, filled from its card."""
    lines = ["| split | rows | " + " | ".join(k for k in next(iter(card.metrics.values()), {}) if k != "rows") + " |"]
    if card.metrics:
        lines.append("|---" * lines[0].count(" | ") + "|---|")
        for split, values in card.metrics.items():
            cells = [f"{value:.4f}" for key, value in values.items() if key != "rows"]
            lines.append(f"| {split} | {values['rows']} | " + " | ".join(cells) + " |")
    stood = "".join(f" A stand-in was used: {what} ({kind})." for kind, what in card.stand_in.items())
    hub_id = card.base if "/" in card.base and not card.base.startswith("/") else ""
    (folder / "README.md").write_text(
        README.format(
            base_line=f"base_model: {hub_id}\n" if hub_id else "",
            base=card.base,
            task=card.task,
            head=card.head,
            revision=f" at revision `{card.revision}`" if card.revision else "",
            stand_in=stood,
            labels=", ".join(f"`{name}`" for name in card.labels),
            max_length=card.max_length,
            metrics="\n".join(lines) if card.metrics else "Not measured.",
        ),
        encoding="utf-8",
    )


def describe(folder: Path, auto_class: str, *, batch_size: int, length: int) -> dict[str, Any]:
    """Architecture, parameters by part, bytes, and memory at a batch of (batch_size, length) tokens, without weights.

    Activations by Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, eq. 2, which
    counts 2 bytes a number: s*b*h*(34 + 5*a*s/h) a layer; fp32 holds twice that. Training adds, besides the weights,
    gradients and the two moments of AdamW. An estimate, good to about a third.
    """
    config = read_config(folder)
    model = meta_model(config, auto_class)
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
