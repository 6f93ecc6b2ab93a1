"""The classes of a trained head that is trained on: each keeps what it has learnt, wherever the new list puts it.

A head has one row of weights, and perhaps one bias, for each class, in the order of its own list. Another list of the same
length would load without an error and give each class the weights of another.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import listing
from hftool.models.families import natural_head_of
from hftool.models.head_config import read_head_config
from hftool.models.load import Loaded
from hftool.models.stored_weights import Stored, read_stored
from hftool.registry.heads import head_spec

NUMBERED = re.compile(r"LABEL_(\d+)")  # what transformers calls the classes of a model that was given no names
NUMBER = "regression"
DEVIATION = 0.02  # of the weights of a new class: what BERT, RoBERTa and GPT-2 begin with


@dataclass(frozen=True)
class Classes:
    """The classes of a head in id order. values: what stood for them in the data, where that is known."""

    names: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def are_numbered(self) -> bool:
        """Whether the names say no more than the place of each class."""
        return all((found := NUMBERED.fullmatch(name)) and int(found[1]) == i for i, name in enumerate(self.names))


def keep_classes(loaded: Loaded, folder: Path, config: Any, *, in_order: bool = False) -> Loaded:
    """Give each class of a model that is to be trained the row of the class of the same name in the head of its folder, and the
    others new rows, drawn from torch's generator. A head for another kind of answer is replaced whole. Each is told in `notes`.

    Args:
        loaded: the model as `load_model` gave it for a card with the new classes.
        config: that of the folder, with its own classes.
        in_order: whether the new classes were listed by hand, which is the only way to tell what LABEL_0 means.
    """
    head_config, stored = loaded.head_config, read_stored(folder)
    name = _last_layer(loaded.model, len(head_config.labels)) if head_config.labels else None
    there = name is not None and f"{name}.weight" in stored.files
    old, gave = _classes_of(folder, config)
    is_number = head_spec(head_config.head).regression and head_config.problem_type == NUMBER
    wanted = NUMBER if is_number else head_config.head
    found: tuple[int | None, ...] = (None,) * len(head_config.labels)
    note = ""
    if gave == wanted and there:
        found = match(old, Classes(head_config.labels, head_config.label_values), in_order=in_order)
        note = _sentence(old, head_config.labels, found)
    elif gave == wanted and name is not None and stored.files:
        note = f"the head of the model has other parts than that of {type(loaded.model).__name__}: it is not used"
    elif gave != wanted and (gave == NUMBER or head_spec(gave).new_layer):
        note = f"the head of the model, which was trained to {'give a number' if gave == NUMBER else gave}, is not used"
    loaded = dataclasses.replace(loaded, notes=(*loaded.notes, *([note] if note else [])))
    return _with_rows(loaded, str(name), stored, found) if there else loaded


def _with_rows(loaded: Loaded, name: str, stored: Stored, found: Sequence[int | None]) -> Loaded:
    """The model with the rows that were found, and what is new of its last layer among its new weights."""
    _put_rows(loaded.model, name, stored, found)
    rows = {f"{name}.weight", f"{name}.bias"} & set(loaded.model.state_dict())
    missing = set(loaded.new_weights) - rows
    if not any(place is not None for place in found):
        missing |= rows
    return dataclasses.replace(loaded, new_weights=tuple(sorted(missing)))


def match(old: Classes, new: Classes, *, in_order: bool = False) -> tuple[int | None, ...]:
    """For each new class the old one that it goes on with, or None.

    By name, else by name without case and outer blanks; by their values where both lists have the same ones. LABEL_0, LABEL_1
    and so on are the values 0, 1 and so on, where the data have just these; `in_order` takes them in the order of the new list.
    """
    if old.are_numbered and not {*old.names} & {*new.names}:
        values = tuple(str(i) for i in range(len(old.names)))
        if in_order and len(new.names) == len(old.names):
            return tuple(range(len(old.names)))
        old = Classes(values, values) if {*new.names} == {*values} or {*new.values} == {*values} else Classes(())
    found = dict(_pairs(old.names, new.names))
    left = [place for place in range(len(old.names)) if place not in found.values()]
    open_ = [place for place in range(len(new.names)) if place not in found]
    alike = _pairs([_fold(old.names[place]) for place in left], [_fold(new.names[place]) for place in open_])
    found |= {open_[new_place]: left[old_place] for new_place, old_place in alike}
    if not found and {*old.values} == {*new.values}:
        found = dict(_pairs(old.values, new.values))
    return tuple(found.get(place) for place in range(len(new.names)))


def _fold(name: str) -> str:
    return name.strip().casefold()


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """(new place, old place) of the words that stand once in each list."""
    return [(i, old.index(word)) for i, word in enumerate(new) if old.count(word) == 1 == new.count(word)]


def _classes_of(folder: Path, config: Any) -> tuple[Classes, str]:
    """The classes of a folder's head, and what it does: one that gives a number has no classes."""
    head_config = read_head_config(folder)
    head = head_config.head if head_config else natural_head_of(folder, config)
    if head_config is not None and head_config.labels:
        return Classes(head_config.labels, head_config.label_values), head
    names = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
    return Classes(names), NUMBER if head_spec(head).regression and len(names) == 1 else head


def _last_layer(model: Any, classes: int) -> str | None:
    """The name of the layer that scores the classes: the last one outside of the body that has as many outputs."""
    import torch

    body = {id(module) for module in model.base_model.modules()}
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in body and module.out_features == classes
    ]
    return layers[-1] if layers else None


def _put_rows(model: Any, name: str, stored: Stored, found: Sequence[int | None]) -> None:
    """Fill the layer: rows of the stored one at the places that were found, new ones elsewhere."""
    import torch

    layer, weight = model.get_submodule(name), stored.tensor(f"{name}.weight")
    kept = [(new, old) for new, old in enumerate(found) if old is not None and old < len(weight)]
    in_place = len(weight) == len(found)  # then the rows were loaded as they are, else drawn by the class of the model
    if (in_place and [old for _, old in kept] == list(range(len(found)))) or (not in_place and not kept):
        return
    for kind, deviation in (("weight", DEVIATION), ("bias", 0.0)):
        target = getattr(layer, kind)
        if target is None:
            continue
        rows = torch.empty(target.shape).normal_(0.0, deviation) if deviation else torch.zeros(target.shape)
        for new, old in kept:
            rows[new] = stored.tensor(f"{name}.{kind}")[old]
        with torch.no_grad():
            target.copy_(rows)


def _sentence(old: Classes, names: Sequence[str], found: Sequence[int | None]) -> str:
    """What became of the classes; empty where all are as they were."""
    if list(found) == list(range(len(old.names))) and tuple(names) == old.names:
        return ""
    kept = [(names[i], old.names[place]) for i, place in enumerate(found) if place is not None]
    new = [name for name, place in zip(names, found, strict=True) if place is None]
    if not kept and old.are_numbered:
        return (
            f"the model calls its classes {old.names[0]} to {old.names[-1]}, which does not say which is which: the head is "
            "new. --set labels=A,B in the order of the model keeps it"
        )
    if not kept:
        return f"no class of the model ({listing(old.names)}) is called like one of the data: the head is new"
    same = [one for one, other in kept if one == other]
    renamed = [f"'{one}' for '{other}'" for one, other in kept if one != other]
    dropped = [name for place, name in enumerate(old.names) if place not in found]
    parts = [
        f"keeps {listing(same)}" if same else "",
        f"takes {', '.join(renamed[:12])}{f' and {len(renamed) - 12} more' if len(renamed) > 12 else ''}" if renamed else "",
        f"adds {listing(new)}" if new else "",
        f"drops {listing(dropped)}" if dropped else "",
    ]
    return f"the head of the model, matched by class name, {'; '.join(part for part in parts if part)}"
