"""tokenize, info: what a model sees of a text, and what the model itself is."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads import get_head, head_class
from hftool.heads.classify.head import ClassifyHead
from hftool.heads.protocol import Feature
from hftool.models.config_facts import auto_class_of, family_of, read_model_config
from hftool.models.describe import describe
from hftool.models.export_folder import describe_export, read_export
from hftool.models.head_config import HeadConfig, read_head_config
from hftool.models.load import Loaded
from hftool.models.safety import is_export
from hftool.models.sentence_transformers import sentence_settings
from hftool.models.sha256sums import check_loaded
from hftool.models.stored_weights import read_stored
from hftool.models.tokenizer import load_tokenizer
from hftool.progress import Progress, notice, silent
from hftool.registry.heads import head_spec
from hftool.workflow._load import default_head, longest_input, notify_tokenizer, text_rows
from hftool.workflow.arguments import Model, model_name, one_or_many, text_list
from hftool.workflow.resolve import resolve_model

LEAST_TOKENS = 2  # the special tokens at both ends


@dataclass(frozen=True)
class Tokens:
    """A text as its model reads it.

    Attributes:
        tokens: The tokens of the first window, special tokens included.
        ids: Their ids.
        mask: The attention mask: 1 for each token.
        truncated: The tokens that no window holds.
        windows: The tokens of each further window of a long text; of a pair under `embed`, those of its second text.
    """

    tokens: list[str]
    ids: list[int]
    mask: list[int]
    truncated: list[str]
    windows: list[list[str]] = field(default_factory=list)


@one_or_many
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
    """Tokenize texts, or pairs of texts, as the model's own head does in inference.

    A text that the head cannot take (no mask to fill, a question without its context) is shown with the special tokens alone.

    Args:
        model: A name, a folder, a run, or a loaded model; the weights are not read.
        texts: One text, or a list.
        pairs: The second text of each: a context, for a model that answers questions.
        max_length: In tokens, special tokens included; by default the model's. Generation truncates on the left.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives notices about the tokenizer.

    Returns:
        One `Tokens` for one text, a list of them for a list.

    Raises:
        UsageError: Texts that are none, or a max_length without room for a token.
        HftoolError: What `load` raises.
    """
    texts, pairs = text_list(texts), None if pairs is None else text_list(pairs, "pairs")
    if max_length is not None and max_length < LEAST_TOKENS:
        raise UsageError(f"max_length must be a whole number of at least {LEAST_TOKENS}, not {max_length}")
    if isinstance(model, Loaded):
        tokenizer, head_config = model.tokenizer, model.head_config
    else:
        tokenizer, head_config = _tokenizer_of(model, offline=offline, fallback=fallback, progress=progress)
    if max_length is not None:
        head_config = dataclasses.replace(head_config, max_length=max_length)
    whole = _windows(tokenizer, dataclasses.replace(head_config, max_length=0), texts, pairs)
    seen = _windows(tokenizer, head_config, texts, pairs)
    return [_tokens(tokenizer, one[0], windows, max_length) for one, windows in zip(whole, seen, strict=True)]


def _tokenizer_of(model: Model, *, offline: bool, fallback: bool, progress: Progress) -> tuple[Any, HeadConfig]:
    """The tokenizer of a model folder, and its head config: its own, or that of the head that it would be loaded with."""
    model_source = resolve_model(model_name(model), head=None, offline=offline, fallback=fallback, progress=progress)
    config = read_model_config(model_source.folder, exported=True)
    check_loaded(model_source.folder, weights=False)
    tokenizer = load_tokenizer(model_source.folder, config)
    notify_tokenizer(tokenizer, model_source, progress)
    head_config = read_head_config(model_source.folder)
    if head_config is None:
        head = default_head(model_source, config)
        embeds = head_spec(head).embeds
        head_config = HeadConfig(head=head, max_length=longest_input(model_source, tokenizer, config, embeds=embeds))
        head_config = sentence_settings(model_source.folder).on(head_config) if embeds else head_config
    return tokenizer, head_config


def _windows(tokenizer: Any, head_config: HeadConfig, texts: Sequence[str], pairs: Sequence[str] | None) -> list[list[Feature]]:
    """The windows of each text, or pair, as the head encodes them."""
    head: Any = get_head(tokenizer, head_config)
    count = 1 if pairs is None else 2
    fitting = (
        (*schema.inputs, *schema.optional)[:count]
        for schema in head_class(head_config.head).row_schemas
        if schema.for_inference and len(schema.inputs) <= count <= len(schema.inputs) + len(schema.optional)
    )
    roles = next((found for found in fitting if found[0] != "tokens"), None)
    head = dataclasses.replace(head, **dict(head_spec(head_config.head).inference_options))
    plain = ClassifyHead(tokenizer, head_config)
    encoded = []
    for row in text_rows(texts, pairs, roles=roles or ("text", "text_pair")):
        try:
            encoded.append(head.encode([row]) if roles else plain.encode([row]))
        except (ConfigError, DataError):  # no mask to fill, or a tokenizer without offsets
            encoded.append(plain.encode([dict(zip(("text", "text_pair"), row.values(), strict=False))]))
    return encoded


def _tokens(tokenizer: Any, whole: Feature, windows: Sequence[Feature], max_length: int | None) -> Tokens:
    """The tokens of a row, and those of the untruncated row that are not among them."""
    ids, every = windows[0].input_ids.tolist(), whole.input_ids.tolist()
    if max_length is not None and len(ids) > max_length:  # a prompt: training truncates it on the left, inference never
        ids = ids[-max_length:]
    if len(windows) > 1:  # only the part that all windows share, a question, is truncated
        start = next((i for i, pair in enumerate(zip(ids, every, strict=False)) if pair[0] != pair[1]), len(ids))
        truncated = every[start : start + windows[0].truncated]
    else:
        rest = len(every) - len(ids)
        truncated = every[:rest] if ids == every[rest:] else _missing(every, ids)
    names = tokenizer.convert_ids_to_tokens
    further = [window.input_ids.tolist() for window in windows[1:]]
    if isinstance(windows[0].aux, np.ndarray):  # the second text of a pair, embedded by itself
        further.append(windows[0].aux.tolist())
    return Tokens(names(ids), ids, [1] * len(ids), names(truncated), [names(one) for one in further])


def _missing(whole: Sequence[int], kept: Sequence[int]) -> list[int]:
    """The tokens that were truncated: what is kept stands in the same order in the whole."""
    following = iter(kept)
    awaited = next(following, None)
    truncated = []
    for token in whole:
        if token == awaited:
            awaited = next(following, None)
        else:
            truncated.append(token)
    return truncated


def info(
    model: Model,
    *,
    batch_size: int = 32,
    length: int = 128,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Describe a model without loading its weights: architecture, parameters by part, bytes, memory to infer and to train.

    Args:
        model: A name, a Hub id, a model or run folder, a Run, or the Result of `finetune`.
        batch_size: Rows of a batch, for the memory.
        length: Tokens of a row, for the memory.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.

    Returns:
        Facts as JSON; bytes and memory in bytes.
    """
    model = model_name(model)
    model_source = resolve_model(model, head=None, offline=offline, fallback=fallback, progress=progress)
    head_config = read_head_config(model_source.folder)
    config = read_model_config(model_source.folder, exported=True)
    check_loaded(model_source.folder, weights=False)
    head = head_config.head if head_config else default_head(model_source, config)
    if is_export(model_source.folder):
        facts = describe_export(read_export(model_source.folder), batch_size=batch_size, length=length)
    else:
        if note := read_stored(model_source.folder).note:
            notice(progress, note)
        facts = describe(model_source.folder, auto_class_of(head, config), batch_size=batch_size, length=length)
    stand_in = {"model": str(model_source.stand_in)} if model_source.stand_in else {}
    stand_in = stand_in or (head_config.stand_in_texts if head_config else {})
    return {
        "model": model,
        "folder": str(model_source.folder),
        "base": head_config.base if head_config else model_source.base,
        "revision": head_config.revision if head_config else model_source.revision,
        **facts,
        "heads": list(family_of(config).heads),
        "head": head,
        **({"labels": list(head_config.labels), "task": head_config.task} if head_config else {}),
        **({"stand_in": stand_in} if stand_in else {}),
    }
