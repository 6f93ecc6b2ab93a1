"""The words that ask a model: load, tokenize, infer, info."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.sources import Row
from hftool.engines.torch import TorchEngine
from hftool.errors import DataError
from hftool.heads import get_head, head_class
from hftool.inference.predictor import Predictor
from hftool.machine import choose_device
from hftool.models import Card, Loaded, describe, length_limit, load_model, load_tokenizer, read_card, read_config
from hftool.names import Place, find_place
from hftool.progress import Progress, silent


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
    """A model that can answer, with its tokenizer and card. MODEL: a name, a Hub id, a model folder or a run folder.

    head: what it is to do; by default what it was trained for. Raises UsageError, InputMissing, HubUnreachable, Refused,
    DataError, ConfigError (among others when the head is not trained yet).
    """
    place = find_place(model, head=head or "classify", offline=offline, fallback=fallback, progress=progress)
    return load_place(place, head=head, device=device)


def load_place(place: Place, *, head: str | None, device: str) -> Loaded:
    """A model from its folder: by its card if it has one, else by the labels in its config. Raises what `load` raises."""

    card = read_card(place.folder)
    if card is None:
        model_config = read_config(place.folder)
        card = Card(
            head=head or "classify",
            base=place.base,
            revision=place.revision,
            labels=tuple(str(model_config.id2label[i]) for i in sorted(model_config.id2label)),
        )
    loaded = load_model(place.folder, head_class(card.head).auto_class, card=card, new_head=False, device=choose_device(device))
    if card.max_length:
        return loaded
    limited = dataclasses.replace(card, max_length=length_limit(loaded.tokenizer, loaded.model.config))
    return dataclasses.replace(loaded, card=limited)


def tokenize(
    model: str | Loaded,
    texts: Sequence[str],
    *,
    max_length: int | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> list[Tokens]:
    """What the texts become for this model: the tokenization that training and inference use.

    max_length: in tokens, special ones included; by default the model's. Raises what `load` raises.
    """

    if isinstance(model, Loaded):
        tokenizer, card = model.tokenizer, model.card
    else:
        place = find_place(model, head="classify", offline=offline, fallback=fallback, progress=progress)
        config = read_config(place.folder)
        tokenizer = load_tokenizer(place.folder, config)
        card = read_card(place.folder) or Card(head="classify", max_length=length_limit(tokenizer, config))
    if max_length is not None:
        card = dataclasses.replace(card, max_length=max_length)
    features = get_head(tokenizer, card).encode([{"text": readable(text)} for text in texts])
    made = []
    for text, feature in zip(texts, features, strict=True):
        whole = tokenizer.tokenize(card.prefix + readable(text))
        ids = feature.input_ids.tolist()
        lost = whole[len(whole) - feature.cut :] if feature.cut else []
        made.append(Tokens(tokenizer.convert_ids_to_tokens(ids), ids, [1] * len(ids), lost))
    return made


def readable(text: str) -> str:
    """The text with lone surrogates replaced: half a character cannot be encoded by any tokenizer."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


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

    pairs: the second text of each, for a model of text pairs. Raises what `load` raises, and DataError for an empty text.
    """
    loaded = (
        model
        if isinstance(model, Loaded)
        else load(model, device=device, offline=offline, fallback=fallback, progress=progress)
    )
    rows: list[Row] = [{"text": text} for text in texts]
    for row, pair in zip(rows, pairs or [], strict=pairs is not None):
        row["text_pair"] = pair
    for number, row in enumerate(rows, start=1):
        if not row["text"].strip():
            raise DataError(f"text {number} is empty")
        row.update({role: readable(value) for role, value in row.items()})
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
    return {
        "model": model,
        "folder": str(place.folder),
        "base": card.base if card else place.base,
        "revision": card.revision if card else place.revision,
        **facts,
        **({"head": card.head, "labels": list(card.labels), "task": card.task} if card else {}),
        **({"stand_in": stand_in} if stand_in else {}),
    }
