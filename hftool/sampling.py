"""Sampling parameters: how a text is generated, token by token; the range and the help of each, declared once.

The flags of the command line, the parameters of the HTTP API and the keyword arguments of Python are built from this table.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hftool.errors import UsageError, did_you_mean, plain_number

T = TypeVar("T")
KINDS = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Range:
    """The type, the help line and the bounds of a parameter. `above`: the lower bound itself is excluded."""

    kind: type
    help: str
    least: float
    most: float
    above: bool = False

    def text(self) -> str:
        """The allowed values in words, such as "a whole number from 1 to 1000"."""
        if self.above:
            return f"{KINDS[self.kind]} over {self.least:g} and at most {self.most:g}"
        return f"{KINDS[self.kind]} from {plain_number(self.least)} to {plain_number(self.most)}"

    def check(self, name: str, value: Any) -> Any:
        """Return the value, or raise UsageError that calls the parameter `name`."""
        kinds = (int, float) if self.kind is float else int
        if isinstance(value, bool) or not isinstance(value, kinds) or not self._holds(value):
            raise UsageError(f"{name} must be {self.text()}, not {value!r}")
        return value

    def parse(self, name: str, text: str) -> Any:
        """Return the value that a text stands for, or raise UsageError that calls the parameter `name`."""
        try:
            value = self.kind(text)
        except ValueError:
            value = math.nan
        if not self._holds(value):
            raise UsageError(f"{name} must be {self.text()}, not '{text}'")
        return value

    def _holds(self, value: float) -> bool:
        return self.least <= value <= self.most and not (self.above and value == self.least)


def _param(default: float, help: str, *, least: float, most: float, above: bool = False) -> Any:
    return field(default=default, metadata={"range": Range(type(default), help, least, most, above)})


# what older versions of hftool, and transformers itself, call a parameter
ALIASES = {"beams": "num_beams", "samples": "num_return_sequences", "stop_strings": "stop"}


def with_field_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the names of the fields of SamplingParams; an alias that was given overrides its field."""
    named = {name: value for name, value in values.items() if name not in ALIASES}
    return named | {ALIASES[name]: value for name, value in values.items() if name in ALIASES}


def _takes_aliases(cls: type[T]) -> type[T]:
    init: Any = cls.__init__

    @functools.wraps(init)
    def __init__(self: T, **values: Any) -> None:
        init(self, **with_field_names(values))

    cls.__init__ = __init__  # type: ignore[assignment]
    return cls


@_takes_aliases
@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a text is generated, under the names of transformers' GenerationConfig.

    At temperature 0 the most probable token is taken; above 0 tokens are sampled. More than one beam searches, and the summed
    log-probability of a hypothesis is divided by length**length_penalty. A text ends before any string of `stop`. Values are
    checked by `check`, not when they are set.
    """

    max_new_tokens: int = _param(
        64, "At most N tokens; by default as in training, else 64, or 128 from text to text.", least=1, most=100_000
    )
    temperature: float = _param(0.0, "0 takes the most probable token, above 0 samples.", least=0, most=100)
    top_k: int = _param(0, "Sample from the K most probable tokens; 0: all.", least=0, most=2**31)
    top_p: float = _param(1.0, "Sample from the fewest tokens whose probabilities add up to this.", least=0, above=True, most=1)
    num_beams: int = _param(1, "Beam width; above 1: beam search.", least=1, most=1000)
    length_penalty: float = _param(1.0, "Exponent of the length in the score of a beam.", least=-10, most=10)
    num_return_sequences: int = _param(1, "Texts for each input.", least=1, most=1000)
    seed: int = _param(0, "Random seed of the sampling; without sampling it has no effect.", least=0, most=2**63 - 1)
    stop: tuple[str, ...] = ()

    @property
    def beams(self) -> int:
        """The old name of num_beams."""
        return self.num_beams

    @property
    def samples(self) -> int:
        """The old name of num_return_sequences."""
        return self.num_return_sequences

    def check(self) -> None:
        """Raise UsageError unless every value is in its range and they go together."""
        for name, row in RANGES.items():
            row.check(name, getattr(self, name))
        if "" in self.stop:
            raise UsageError("a stop string must not be empty: every text contains it")
        if self.num_beams > 1 and self.temperature > 0:
            raise UsageError("beam search and sampling exclude each other", "Use one beam, or temperature 0")
        if 1 < self.num_beams < self.num_return_sequences:
            what = f"{self.num_beams} beams give at most {self.num_beams} texts, not {self.num_return_sequences}"
            raise UsageError(what, "Use at least as many beams as texts")
        for name in ("top_k", "top_p"):
            if self.temperature == 0 and getattr(self, name) != getattr(SamplingParams, name):
                hint = f"Leave {name} out" + ("" if self.num_beams > 1 else ", or sample at a temperature such as 0.8")
                raise UsageError(f"{name} limits sampling, and at temperature 0 nothing is sampled", hint)
        if self.num_return_sequences > 1 and self.num_beams == 1 and self.temperature == 0:
            what = f"{self.num_return_sequences} texts at temperature 0 would all be the same"
            raise UsageError(what, "Sample at a temperature such as 0.8, or use at least as many beams")

    def updated(self, values: Mapping[str, Any]) -> "SamplingParams":
        """These parameters with some of them replaced; None means: as it is.

        Args:
            values: Under the names of the fields or their aliases. `do_sample` is a temperature of 1, or of 0.

        Raises:
            UsageError: An unknown name, or a value out of its range.
        """
        given = {name: value for name, value in with_field_names(values).items() if value is not None}
        known = [one.name for one in dataclasses.fields(self)]
        if (sample := given.pop("do_sample", None)) is not None:
            given = {**given, "temperature": given.get("temperature", 1.0) if sample else 0.0}
        for name, value in given.items():
            if name not in known:
                hint = did_you_mean(name, known, otherwise="Sampling parameters: " + ", ".join(known))
                raise UsageError(f"unknown sampling parameter '{name}'", hint)
            given[name] = RANGES[name].check(name, value) if name in RANGES else _stop_strings(value)
        return dataclasses.replace(self, **given)


RANGES: Mapping[str, Range] = {
    one.name: one.metadata["range"] for one in dataclasses.fields(SamplingParams) if "range" in one.metadata
}


def _stop_strings(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"stop must be a text or a list of texts, not {value!r}")
    return tuple(texts)
