"""The words that ask a model: load, tokenize, infer, info."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.sources import Row, whole_characters
from hftool.engines.torch import TorchEngine
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads import get_head, head_class
from hftool.heads.protocol import Feature
from hftool.inference.predictor import Predictor
from hftool.machine import choose_device
from hftool.models import Card, Loaded, describe, length_limit, load_model, load_tokenizer, read_card, read_config
from hftool.names import Place, find_place
from hftool.progress import Progress, silent

LEAST_TOKENS = 2  # a beginning and an end


@dataclass(frozen=True)
class Tokens:
    """What a text becomes. mask: 1 for a token, as attention sees it. cut: the tokens that did not fit."""

    tokens: list[str]
    ids: list[int]
    mask: list[int]
    cut: list[str]


def load(
    model: str,
    *,
    head: str | None = None,
    device: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Loaded:
    """A model with its tokenizer and card. MODEL: a name, a Hub id, a model folder or a run folder.

    head: what it is to do; by default what it was trained for. A model whose head is not trained yet loads, with the parts
    that are missing in `new_weights`; it never answers. Raises UsageError, InputMissing, HubUnreachable, Refused, DataError,
    ConfigError.
    """
    place = find_place(model, head=head or "classify", offline=offline, fallback=fallback, progress=progress)
    return load_place(place, head=head, device=device)


def load_place(place: Place, *, head: str | None, device: str) -> Loaded:
    """A model from its folder: by its card if it has one, else by the labels in its config. Raises what `load` raises."""
    card = read_card(place.folder) or _card_of_stranger(place, head or "classify")
    auto_class = head_class(card.head).auto_class
    loaded = load_model(place.folder, auto_class, card=card, new_head=True, device=choose_device(device))
    if card.max_length:
        return loaded
    limited = dataclasses.replace(card, max_length=length_limit(loaded.tokenizer, loaded.model.config))
    return dataclasses.replace(loaded, card=limited)


def _card_of_stranger(place: Place, head: str) -> Card:
    """A card for a model that hftool did not make, by its config. Labels called LABEL_0 stand for the numbers in data."""
    config = read_config(place.folder)
    kind = config.problem_type or "single_label_classification"
    labels = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
    if kind != "single_label_classification" or len(labels) < 2:
        raise ConfigError(
            f"the model in '{place.folder}' is made for {kind.replace('_', ' ')} with {len(labels)} outputs",
            "classify takes one label of several",
        )
    values = tuple(str(i) if name == f"LABEL_{i}" else name for i, name in enumerate(labels))
    return Card(head=head, base=place.base, revision=place.revision, labels=labels, label_values=values)


def tokenize(
    model: str | Loaded,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    max_length: int | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> list[Tokens]:
    """What the texts, or pairs of texts, become for this model: the tokenization that training and inference use.

    max_length: in tokens, special ones included; by default the model's. Raises what `load` raises, and UsageError.
    """
    rows = _rows(texts, pairs)
    if max_length is not None and max_length < LEAST_TOKENS:
        raise UsageError(f"max_length must be a whole number of at least {LEAST_TOKENS}, not {max_length}")
    if isinstance(model, Loaded):
        tokenizer, card = model.tokenizer, model.card
    else:
        place = find_place(model, head="classify", offline=offline, fallback=fallback, progress=progress)
        config = read_config(place.folder)
        tokenizer = load_tokenizer(place.folder, config)
        card = read_card(place.folder) or Card(head="classify", max_length=length_limit(tokenizer, config))
    if max_length is not None:
        card = dataclasses.replace(card, max_length=max_length)
    uncut = get_head(tokenizer, dataclasses.replace(card, max_length=0)).encode(rows)
    features = get_head(tokenizer, card).encode(rows)
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


def _rows(texts: Sequence[str], pairs: Sequence[str] | None) -> list[Row]:
    """Texts as rows. Raises UsageError for anything but lists of texts of one length."""
    for name, values in (("texts", texts), ("pairs", pairs or [])):
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            raise UsageError(f"{name} must be a list of texts")
    if pairs is not None and len(pairs) != len(texts):
        raise UsageError(f"there are {len(texts)} texts and {len(pairs)} second texts")
    rows: list[Row] = [{"text": whole_characters(text)} for text in texts]
    for row, pair in zip(rows, pairs or [], strict=False):
        row["text_pair"] = whole_characters(pair)
    return rows


def make_predictor(loaded: Loaded, precision: str = "fp32") -> Predictor:
    """What answers with this model: the engine and the head that its card names."""
    engine = TorchEngine(loaded.model, str(loaded.model.device), precision)
    return Predictor(engine, get_head(loaded.tokenizer, loaded.card))


def infer(
    model: str | Loaded,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    device: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """One answer a text, in their order: {"label", "probability", "probabilities"}.

    pairs: the second text of each, for a model of text pairs. Raises what `load` raises, UsageError (pairs for a model of
    single texts, or none for one of pairs), ConfigError (the head is not trained), DataError (an empty text).
    """
    rows = _rows(texts, pairs)
    if isinstance(model, Loaded):
        loaded = model
    else:
        loaded = load(model, device=device, offline=offline, fallback=fallback, progress=progress)
    if loaded.new_weights:
        lacks = ", ".join(loaded.new_weights[:5])
        raise ConfigError(f"the model has no trained head: it lacks {lacks}", "Fine-tune it: hftool finetune MODEL TASK")
    if loaded.card.columns and ("text_pair" in loaded.card.columns) != (pairs is not None):
        wants, flag = ("single texts", "Leave --pair out") if pairs else ("pairs of texts", "Give the second with --pair")
        raise UsageError(f"the model was trained on {wants}", flag)
    for number, row in enumerate(rows, start=1):
        if not row["text"].strip():
            raise DataError(f"text {number} is empty")
    return list(make_predictor(loaded).answer(rows))


def read_lines(handle: Iterable[str]) -> list[str]:
    """Lines of a pipe as texts, their line ends taken off."""
    return [line.rstrip("\r\n") for line in handle]


def info(
    model: str,
    *,
    batch_size: int = 32,
    length: int = 128,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What a model is and what it needs: parameters by part, bytes, memory to infer and to train. Loads no weights."""
    place = find_place(model, head="classify", offline=offline, fallback=fallback, progress=progress)
    card = read_card(place.folder)
    facts = describe(
        place.folder, head_class(card.head if card else "classify").auto_class, batch_size=batch_size, length=length
    )
    stand_in = {"model": f"{place.stand_in['used']} for {place.stand_in['asked']}"} if place.stand_in else {}
    stand_in = stand_in or (dict(card.stand_in) if card else {})
    return {
        "model": model,
        "folder": str(place.folder),
        "base": card.base if card else place.base,
        "revision": card.revision if card else place.revision,
        **facts,
        **({"head": card.head, "labels": list(card.labels), "task": card.task} if card else {}),
        **({"stand_in": stand_in} if stand_in else {}),
    }
