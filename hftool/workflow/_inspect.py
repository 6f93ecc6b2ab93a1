"""tokenize, info: what a model sees of a text, and what the model itself is."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hftool.errors import UsageError
from hftool.heads.classify.head import ClassifyHead
from hftool.heads.protocol import Feature
from hftool.models import (
    HeadConfig,
    Loaded,
    auto_class_of,
    describe,
    family_of,
    load_tokenizer,
    natural_head_of,
    read_config,
    read_head_config,
    sentence_settings,
)
from hftool.models.checksums import check_loaded
from hftool.models.export_folder import describe_export, read_export
from hftool.models.stored_weights import read_stored
from hftool.progress import Progress, notice, silent
from hftool.registry.models import natural_head
from hftool.resolve import resolve_model
from hftool.safety import is_export
from hftool.workflow._load import longest_input, notify_tokenizer, text_rows
from hftool.workflow.arguments import Model, model_word

LEAST_TOKENS = 2  # a beginning and an end


@dataclass(frozen=True)
class Tokens:
    """What a text becomes. mask: 1 for a token, as attention sees it. cut: the tokens that did not fit."""

    tokens: list[str]
    ids: list[int]
    mask: list[int]
    cut: list[str]


def tokenize(
    model: Model | Loaded,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    max_length: int | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> list[Tokens]:
    """What the texts, or pairs of texts, become for this model: the tokenization that training and inference use; a model that
    tags sees its words with single spaces between them.

    max_length: in tokens, special ones included; by default the model's. Raises what `load` raises, and UsageError.
    """
    rows = text_rows(texts, pairs)
    if max_length is not None and max_length < LEAST_TOKENS:
        raise UsageError(f"max_length must be a whole number of at least {LEAST_TOKENS}, not {max_length}")
    if isinstance(model, Loaded):
        tokenizer, head_config = model.tokenizer, model.head_config
    else:
        place = resolve_model(model_word(model), head=None, offline=offline, fallback=fallback, progress=progress)
        config = read_config(place.folder, exported=True)
        check_loaded(place.folder, weights=False)
        tokenizer = load_tokenizer(place.folder, config)
        notify_tokenizer(tokenizer, place, progress)
        embeds = natural_head_of(place.folder, config) == "embed"
        limit = longest_input(place, tokenizer, config, embeds=embeds)
        prefix = sentence_settings(place.folder).prefix if embeds else ""
        head_config = read_head_config(place.folder) or HeadConfig(head="classify", max_length=limit, prefix=prefix)
    if max_length is not None:
        head_config = dataclasses.replace(head_config, max_length=max_length)
    uncut = ClassifyHead(tokenizer, dataclasses.replace(head_config, max_length=0)).encode(rows)
    features = ClassifyHead(tokenizer, head_config).encode(rows)
    return [_tokens(tokenizer, whole, feature) for whole, feature in zip(uncut, features, strict=True)]


def _tokens(tokenizer: Any, whole: Feature, feature: Feature) -> Tokens:
    """The tokens of a row, and those of the whole row that are not among them."""
    ids = feature.input_ids.tolist()
    kept = iter(ids)
    following = next(kept, None)
    lost = []
    for token in whole.input_ids.tolist():  # what is kept stands in the same order in the whole
        if token == following:
            following = next(kept, None)
        else:
            lost.append(token)
    return Tokens(tokenizer.convert_ids_to_tokens(ids), ids, [1] * len(ids), tokenizer.convert_ids_to_tokens(lost))


def info(
    model: Model,
    *,
    batch_size: int = 32,
    length: int = 128,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What a model is and what it needs: parameters by part, bytes, memory to infer and to train. Loads no weights."""
    model = model_word(model)
    place = resolve_model(model, head=None, offline=offline, fallback=fallback, progress=progress)
    head_config = read_head_config(place.folder)
    config = read_config(place.folder, exported=True)
    check_loaded(place.folder, weights=False)
    head = head_config.head if head_config else natural_head(place.row) if place.row else natural_head_of(place.folder, config)
    if is_export(place.folder):
        facts = describe_export(read_export(place.folder), batch_size=batch_size, length=length)
    else:
        if note := read_stored(place.folder).note:
            notice(progress, note)
        facts = describe(place.folder, auto_class_of(head, config), batch_size=batch_size, length=length)
    stand_in = {"model": f"{place.stand_in['used']} for {place.stand_in['asked']}"} if place.stand_in else {}
    stand_in = stand_in or (dict(head_config.stand_in) if head_config else {})
    return {
        "model": model,
        "folder": str(place.folder),
        "base": head_config.base if head_config else place.base,
        "revision": head_config.revision if head_config else place.revision,
        **facts,
        "heads": list(family_of(config).heads),
        "head": head,
        **({"labels": list(head_config.labels), "task": head_config.task} if head_config else {}),
        **({"stand_in": stand_in} if stand_in else {}),
    }
