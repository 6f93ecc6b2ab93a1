"""Inputs, parameters and replies of heads over HTTP, as in the tasks of Hugging Face's API; each head declares its own.

https://huggingface.co/docs/inference-providers/tasks/index
"""

import math
import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hftool.data.readers.tables import Row, replace_surrogates
from hftool.data.schema import IGNORED, is_blank
from hftool.errors import DataError, UsageError, did_you_mean, listing
from hftool.sampling import RANGES, with_field_names

Schema = Mapping[str, Any]  # JSON Schema, as OpenAPI 3.1 takes it
SEED_BITS = 63  # of a number that a tensor holds
LONGEST = 256  # characters of a stop string, which is looked for after each token
WORDS_OF = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list of texts"}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", list: "array"}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The inputs of a request.

    Attributes:
        texts: The names of the texts of an input, and their roles in a row; with one name a plain text is an input, too.
        more: The same of optional texts.
        blank: Whether a text may be empty.
        holds: Strings of which a text must have one.
        ids: Whether a text may be given as token ids, where the protocol allows it.
    """

    texts: Mapping[str, str]
    more: Mapping[str, str] = field(default_factory=dict)
    blank: bool = False
    holds: tuple[str, ...] = ()
    ids: bool = False

    def text_schema(self, chars: int) -> dict[str, Any]:
        """The JSON Schema of a text of at most `chars` characters."""
        text: dict[str, Any] = {"type": "string", "maxLength": chars}
        if self.holds:
            text["pattern"] = "|".join("".join(f"\\{c}" if c in "[]|" else c for c in word) for word in self.holds)
        elif not self.blank:
            # only Python counts the separators of ASCII as \s
            shown = "".join(f"\\u{ord(c):04x}" for c in IGNORED)
            text |= {"minLength": 1, "pattern": rf"[^\s\u001c-\u001f\u0085{shown}]"}
        return text

    def schema(self, *, inputs: int, chars: int) -> dict[str, Any]:
        """The JSON Schema of `inputs`: one input, or a list of at most `inputs`, of texts of at most `chars` characters."""
        text = self.text_schema(chars)
        kinds = [text] if len(self.texts) == 1 else []
        for names in [self.texts, {**self.texts, **self.more}] if self.more else [self.texts]:
            known = {"type": "object", "properties": dict.fromkeys(names, text), "required": list(names)}
            kinds.append({**known, "additionalProperties": False})
        lists = [{"type": "array", "items": kind, "minItems": 1, "maxItems": inputs} for kind in kinds]
        return {"anyOf": [*kinds, *lists]}

    def words(self) -> str:
        """The inputs in words, for an error."""
        names = "{" + ", ".join(f'"{name}": TEXT' for name in (*self.texts, *self.more)) + "}"
        return f"a text, {names}, or a list of these" if len(self.texts) == 1 else f"{names} or a list of these"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a request.

    Attributes:
        kind: int, float, bool, str, or list for a list of texts, whose length has the bounds.
        help: A sentence for its JSON Schema.
        least: The lower bound.
        most: The upper bound.
        above: Whether the lower bound is exclusive.
        choices: The values it may have.
        goes: The field of the head that it sets, or "decoding.FIELD"; "" where only the reply uses it.
    """

    kind: type
    help: str
    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    goes: str = ""

    def schema(self, most: float | None = None) -> dict[str, Any]:
        """The JSON Schema. most: the limit of the server, where it has one."""
        schema: dict[str, Any] = {"type": TYPES[self.kind], "description": self.help}
        high = self.most if most is None else min(most, self.most)
        if self.kind is list:
            return {**schema, "items": {"type": "string", "minLength": 1, "maxLength": LONGEST}, "maxItems": int(high)}
        if self.choices:
            schema["enum"] = list(self.choices)
        if math.isfinite(self.least):
            schema["exclusiveMinimum" if self.above else "minimum"] = self.least
        if math.isfinite(high):
            schema["maximum"] = high
        return schema

    def check(self, name: str, value: Any, most: float | None = None) -> Any:
        """The value for the head. Raises UsageError that names the parameter and its range."""
        high = self.most if most is None else min(most, self.most)
        kinds: Any = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            raise UsageError(f"'{name}' must be {WORDS_OF[self.kind]}")
        if self.choices and value not in self.choices:
            raise UsageError(f"'{name}' must be one of {listing(self.choices)}")
        if self.kind is list:
            if len(value) > high or not all(isinstance(one, str) and 0 < len(one) <= LONGEST for one in value):
                raise UsageError(f"'{name}' must be a list of at most {high:g} texts of 1 to {LONGEST} characters")
            return tuple(replace_surrogates(one) for one in value)
        if self.kind in (int, float) and not (self.least < value <= high if self.above else self.least <= value <= high):
            raise UsageError(f"'{name}' must be {_range(self.least, high, above=self.above)}, not {value}")
        return value


def _range(least: float, most: float, *, above: bool) -> str:
    low = f"over {_shown(least)}" if above else f"at least {_shown(least)}"
    return low if math.isinf(most) else f"{low} and at most {_shown(most)}"


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


# How a text is generated, as the tasks of Hugging Face call it.
GENERATION_PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        name: Parameter(kind=row.kind, help=row.help, least=row.least, above=row.above, most=row.most, goes=f"decoding.{name}")
        for name, row in RANGES.items()
    }
    | {
        "do_sample": Parameter(kind=bool, help="False: no sampling. True: sampling, by default at temperature 1."),
        "stop": Parameter(kind=list, help="A text ends before any of these.", most=16, goes="decoding.stop"),
    }
)


def rows_of(spec: InputSpec, inputs: Any, *, most: int, chars: int, name: str = "inputs") -> list[Row]:
    """Convert the inputs of a request to rows.

    Args:
        spec: The inputs that the head takes.
        inputs: The inputs as parsed from JSON.
        most: The limit of inputs.
        chars: The limit of characters of a text.
        name: The field of the request, for errors.

    Raises:
        UsageError: Another shape, or too many or too long texts.
        DataError: An empty text.
    """
    many = inputs if isinstance(inputs, list) else [inputs]
    if not many:
        raise UsageError(f"'{name}' is empty", f"It takes {spec.words()}")
    if len(many) > most:
        raise UsageError(f"'{name}' has {len(many)} texts and at most {most} are taken", "Send them in several requests")
    rows = [_row(spec, one, f"{name}[{i}]" if isinstance(inputs, list) else name, chars) for i, one in enumerate(many)]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise UsageError(f"'{name}' has pairs of texts and single texts", "Send them in two requests")
    return rows


def _row(spec: InputSpec, value: Any, path: str, chars: int) -> Row:
    named = isinstance(value, dict)
    if isinstance(value, str) and len(spec.texts) == 1:
        value = {next(iter(spec.texts)): value}
    if not isinstance(value, dict):
        raise UsageError(f"'{path}' has another shape", f"It takes {spec.words()}")
    roles = {**spec.texts, **spec.more}
    wrong = next((name for name in value if name not in roles), None) or next((n for n in spec.texts if n not in value), None)
    if wrong is not None:
        raise UsageError(f"'{path}' {'holds' if wrong in value else 'lacks'} '{wrong[:40]}'", f"It takes {spec.words()}")
    row: Row = {}
    for name, text in value.items():
        at = f"{path}.{name}" if named else path
        if not isinstance(text, str):
            raise UsageError(f"'{at}' must be a text", f"It takes {spec.words()}")
        if len(text) > chars:
            raise UsageError(f"'{at}' has {len(text)} characters: at most {chars} are taken", "Shorten it")
        if not spec.blank and is_blank(text):
            raise DataError(f"'{at}' is empty")
        row[roles[name]] = replace_surrogates(text)
    return row


def options_of(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], most: Mapping[str, float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the parameters of a request.

    Args:
        parameters: The parameters of the head.
        given: The parameters of the request.
        most: Limits of the server, by parameter.

    Returns:
        The fields of the head, with those of its SamplingParams under "sampling"; and the parameters of the reply.

    Raises:
        UsageError: An unknown parameter, a value out of range, or a contradiction.
    """
    options: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    reply: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in parameters:
            known = "Parameters: " + ", ".join(parameters) if parameters else "This model takes none"
            raise UsageError(f"unknown parameter '{name[:60]}'", did_you_mean(name[:60], parameters, otherwise=known))
        row = parameters[name]
        value = row.check(name, raw, most.get(name))
        room, _, last = row.goes.rpartition(".")
        (sampling if room else options if last else reply)[last or name] = value
    if samples := reply.pop("do_sample", None):
        sampling.setdefault("temperature", 1.0)
    elif samples is False:
        sampling["temperature"] = 0.0
    if sampling:
        options["sampling"] = settled(sampling)
    return options, reply


def settled(sampling: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Decoding without those that mean nothing: nothing is drawn at temperature 0. Raises UsageError where two
    of them contradict each other."""
    sampling = with_field_names(sampling)
    beams, samples = sampling.get("num_beams", 1), sampling.get("num_return_sequences", 1)
    temperature = sampling.get("temperature", 0)
    if beams > 1 and temperature > 0:
        raise UsageError("'num_beams' searches and 'temperature' draws: one excludes the other")
    if samples > 1 and temperature == 0 and beams < samples:
        raise UsageError("several texts without a 'temperature' would all be the same", "Set it, or as many beams")
    return {k: v for k, v in sampling.items() if temperature > 0 or k not in ("top_k", "top_p", "seed", "temperature")}


def with_seeds(rows: Sequence[Row], options: Mapping[str, Any]) -> tuple[Sequence[Row], Mapping[str, Any]]:
    """Move the random seed of sampling from the options to the rows, so that requests with different seeds can share a batch.

    The first of equal rows has the seed of the options, as if it were alone, or a random one; the others have seeds derived
    from it. Without sampling nothing changes.
    """
    sampling = dict(options.get("sampling", {}))
    if not sampling.get("temperature"):
        return rows, options
    given = sampling.pop("seed", None)
    seed = secrets.randbits(SEED_BITS) if given is None else given
    seeded: list[Row] = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        number = seen[key := tuple(row.items())]
        seen[key] += 1
        own = random.Random(f"{seed} {number}").getrandbits(SEED_BITS) if number else seed
        seeded.append({**row, "seed": own})
    return seeded, {**options, "sampling": sampling}


def parameters_schema(parameters: Mapping[str, Parameter], most: Mapping[str, float]) -> dict[str, Any]:
    """The JSON Schema of `parameters`."""
    known = {name: row.schema(most.get(name)) for name, row in parameters.items()}
    return {"type": "object", "properties": known, "additionalProperties": False}


def _object(**properties: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _NUMBER, _OFFSET = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_SPAN = _object(answer=_TEXT, score=_NUMBER, start=_OFFSET, end=_OFFSET)
_WORD = _object(score=_NUMBER, token_str=_TEXT, sequence=_TEXT)
# the reply to one input
LABELS: Schema = _list(_object(label=_TEXT, score=_NUMBER))
ENTITIES: Schema = _list(_object(entity_group=_TEXT, score=_NUMBER, word=_TEXT, start=_OFFSET, end=_OFFSET))
SPANS: Schema = {"anyOf": [_SPAN, _list(_SPAN)]}
TEXTS: Schema = _list(_object(generated_text=_TEXT))
WORDS: Schema = {"anyOf": [_list(_WORD), _list(_list(_WORD))]}
VECTOR: Schema = {"anyOf": [_list(_NUMBER), _object(score=_NUMBER)]}


def texts_reply(answer: Mapping[str, Any], before: str = "") -> list[dict[str, str]]:
    """The generated texts, each after `before`."""
    texts: Sequence[str] = answer.get("samples") or [answer["text"]]
    return [{"generated_text": before + text} for text in texts]
