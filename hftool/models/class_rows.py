"""Transfers the rows of a trained head to a new list of classes, matched by name.

A head has one row of weights, and perhaps one bias, per class, in the order of its class list. Another list of the same length
would load without an error and give each class the weights of another.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import listing
from hftool.models.config_facts import natural_head_of
from hftool.models.head_config import read_head_config
from hftool.models.load import Loaded
from hftool.models.stored_weights import Stored, read_stored
from hftool.registry.heads import head_spec

NUMBERED = re.compile(r"LABEL_(\d+)")  # the default names of classes in transformers
REGRESSION = "regression"
DEVIATION = 0.02  # standard deviation of the weights of a new class, as in BERT, RoBERTa and GPT-2


@dataclass(frozen=True)
class Classes:
    """The names of a head's classes in id order, and their values in the training data, where known."""

    names: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def are_numbered(self) -> bool:
        """Whether the names are LABEL_0, LABEL_1 and so on."""
        return all((found := NUMBERED.fullmatch(name)) and int(found[1]) == i for i, name in enumerate(self.names))


def keep_classes(loaded: Loaded, folder: Path, config: Any, *, in_order: bool = False) -> Loaded:
    """Copy the stored row of each class with a known name into the head; other classes get random rows.

    A head of another type is replaced as a whole. The notes of the result say what happened. `config` is that of the folder,
    with the old classes. `in_order`: whether the user listed the new ones, which is the only way to know what LABEL_0 means.
    """
    head_config, stored = loaded.head_config, read_stored(folder)
    name = _last_layer(loaded.model, len(head_config.labels)) if head_config.labels else None
    is_stored = name is not None and f"{name}.weight" in stored.files
    old, old_type = _classes_of(folder, config)
    regression = head_spec(head_config.head).regression and head_config.problem_type == REGRESSION
    new_type = REGRESSION if regression else head_config.head
    sources: tuple[int | None, ...] = (None,) * len(head_config.labels)
    note = ""
    if old_type == new_type and is_stored:
        sources = match(old, Classes(head_config.labels, head_config.label_values), in_order=in_order)
        note = _sentence(old, head_config.labels, sources)
    elif old_type == new_type and name is not None and stored.files:
        note = f"the head of the model has other parts than that of {type(loaded.model).__name__}: it is not used"
    elif old_type != new_type and (old_type == REGRESSION or head_spec(old_type).new_layer):
        trained = "give a number" if old_type == REGRESSION else old_type
        note = f"the head of the model, which was trained to {trained}, is not used"
    loaded = dataclasses.replace(loaded, notes=(*loaded.notes, *([note] if note else [])))
    if not is_stored:
        return loaded
    _copy_rows(loaded.model, str(name), stored, sources)
    rows = {f"{name}.weight", f"{name}.bias"} & set(loaded.model.state_dict())
    new = set(loaded.new_weights) - rows
    if all(source is None for source in sources):  # then the last layer counts as new
        new |= rows
    return dataclasses.replace(loaded, new_weights=tuple(sorted(new)))


def match(old: Classes, new: Classes, *, in_order: bool = False) -> tuple[int | None, ...]:
    """For each new class the id of the old class whose row it gets, or None.

    Classes match by name, else by name without case and outer blanks; if none does, by their values where both lists have the
    same ones. LABEL_0, LABEL_1 ... stand for the values 0, 1 ... if the data has exactly these; with `in_order` they are taken
    in the order of the new list.
    """
    if old.are_numbered and not {*old.names} & {*new.names}:
        values = tuple(str(i) for i in range(len(old.names)))
        if in_order and len(new.names) == len(old.names):
            return tuple(range(len(old.names)))
        old = Classes(values, values) if {*new.names} == {*values} or {*new.values} == {*values} else Classes(())
    found = dict(_pairs(old.names, new.names))
    old_left = [i for i in range(len(old.names)) if i not in found.values()]
    new_left = [i for i in range(len(new.names)) if i not in found]
    alike = _pairs([_fold(old.names[i]) for i in old_left], [_fold(new.names[i]) for i in new_left])
    found |= {new_left[i]: old_left[j] for i, j in alike}
    if not found and {*old.values} == {*new.values}:
        found = dict(_pairs(old.values, new.values))
    return tuple(found.get(i) for i in range(len(new.names)))


def _fold(name: str) -> str:
    return name.strip().casefold()


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """(new index, old index) of the names that occur exactly once in each list."""
    return [(i, old.index(name)) for i, name in enumerate(new) if old.count(name) == 1 == new.count(name)]


def _classes_of(folder: Path, config: Any) -> tuple[Classes, str]:
    """The classes of a folder's head, and its type: the name of the head, or `REGRESSION`."""
    head_config = read_head_config(folder)
    head = head_config.head if head_config else natural_head_of(folder, config)
    if head_config is not None and head_config.labels:
        return Classes(head_config.labels, head_config.label_values), head
    names = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
    return Classes(names), REGRESSION if head_spec(head).regression and len(names) == 1 else head


def _last_layer(model: Any, classes: int) -> str | None:
    """The name of the output layer: the last layer outside the body with one output per class."""
    import torch

    body = {id(module) for module in model.base_model.modules()}
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in body and module.out_features == classes
    ]
    return layers[-1] if layers else None


def _copy_rows(model: Any, name: str, stored: Stored, sources: Sequence[int | None]) -> None:
    """Fill the layer: copies of stored rows where there is a source, random rows elsewhere."""
    import torch

    layer, weight = model.get_submodule(name), stored.tensor(f"{name}.weight")
    kept = [(new, old) for new, old in enumerate(sources) if old is not None and old < len(weight)]
    same_size = len(weight) == len(sources)  # then from_pretrained loaded the rows as stored, else it initialized them
    if (same_size and [old for _, old in kept] == list(range(len(sources)))) or (not same_size and not kept):
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


def _sentence(old: Classes, names: Sequence[str], sources: Sequence[int | None]) -> str:
    """A note on kept, renamed, new and dropped classes; "" if nothing changed."""
    if list(sources) == list(range(len(old.names))) and tuple(names) == old.names:
        return ""
    kept = [(names[i], old.names[source]) for i, source in enumerate(sources) if source is not None]
    new = [name for name, source in zip(names, sources, strict=True) if source is None]
    if not kept and old.are_numbered:
        return (
            f"the model calls its classes {old.names[0]} to {old.names[-1]}, which does not say which is which: the head is "
            "new. --set labels=A,B in the order of the model keeps it"
        )
    if not kept:
        return f"no class of the model ({listing(old.names)}) is called like one of the data: the head is new"
    same = [name for name, before in kept if name == before]
    renamed = [f"'{name}' for '{before}'" for name, before in kept if name != before]
    dropped = [name for i, name in enumerate(old.names) if i not in sources]
    parts = [
        f"keeps {listing(same)}" if same else "",
        f"takes {', '.join(renamed[:12])}{f' and {len(renamed) - 12} more' if len(renamed) > 12 else ''}" if renamed else "",
        f"adds {listing(new)}" if new else "",
        f"drops {listing(dropped)}" if dropped else "",
    ]
    return f"the head of the model, matched by class name, {'; '.join(part for part in parts if part)}"
