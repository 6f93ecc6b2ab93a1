"""What heads take and give over HTTP, in the shapes of Hugging Face's tasks: declared by each head, read and checked here.

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

from hftool.data.readers.tables import Row, whole_characters
from hftool.data.schema import IGNORED, is_blank
from hftool.errors import DataError, UsageError, did_you_mean, listing
from hftool.sampling import RANGES, with_field_names

Schema = Mapping[str, Any]  # JSON Schema, as OpenAPI 3.1 takes it
SEED_BITS = 63  # of a number that a tensor holds
LONGEST = 256  # characters of a stop string: each is looked for after each token
WORDS_OF = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list of texts"}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", list: "array"}


@dataclass(frozen=True, kw_only=True)
class Asks:
    """What one input is. texts: the names of its texts in a request, each with the role that it has in a row; where there is
    one such name, a text by itself is an input, too. more: those that may be left out. blank: whether a text may be empty.
    holds: one of these words must be in the text. ids: whether token ids may stand for a text, where the protocol has them."""

    texts: Mapping[str, str]
    more: Mapping[str, str] = field(default_factory=dict)
    blank: bool = False
    holds: tuple[str, ...] = ()
    ids: bool = False

    def text_schema(self, chars: int) -> dict[str, Any]:
        """The JSON Schema of a text of at most so many characters."""
        text: dict[str, Any] = {"type": "string", "maxLength": chars}
        if self.holds:
            text["pattern"] = "|".join("".join(f"\\{c}" if c in "[]|" else c for c in word) for word in self.holds)
        elif not self.blank:
            # \s is not the same everywhere: the separators of ASCII are space to Python alone
            shown = "".join(f"\\u{ord(c):04x}" for c in IGNORED)
            text |= {"minLength": 1, "pattern": rf"[^\s\u001c-\u001f\u0085{shown}]"}
        return text

    def schema(self, *, inputs: int, chars: int) -> dict[str, Any]:
        """The JSON Schema of `inputs`: one input, or a list of at most so many; chars: as above."""
        text = self.text_schema(chars)
        kinds = [text] if len(self.texts) == 1 else []
        for names in [self.texts, {**self.texts, **self.more}] if self.more else [self.texts]:
            known = {"type": "object", "properties": dict.fromkeys(names, text), "required": list(names)}
            kinds.append({**known, "additionalProperties": False})
        lists = [{"type": "array", "items": kind, "minItems": 1, "maxItems": inputs} for kind in kinds]
        return {"anyOf": [*kinds, *lists]}

    def words(self) -> str:
        """What an input is, for an error."""
        names = "{" + ", ".join(f'"{name}": TEXT' for name in (*self.texts, *self.more)) + "}"
        return f"a text, {names}, or a list of these" if len(self.texts) == 1 else f"{names} or a list of these"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One of those that `parameters` may hold. kind: int, float, bool, str, or list for a list of texts, whose length has the
    bounds. goes: the field of the head, or "decoding.FIELD"; "" where only the reply heeds it. above: least itself is out."""

    kind: type
    help: str
    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    goes: str = ""

    def schema(self, most: float | None = None) -> dict[str, Any]:
        """Its JSON Schema. most: a lower bound than its own, where the server has one."""
        made: dict[str, Any] = {"type": TYPES[self.kind], "description": self.help}
        high = self.most if most is None else min(most, self.most)
        if self.kind is list:
            return {**made, "items": {"type": "string", "minLength": 1, "maxLength": LONGEST}, "maxItems": int(high)}
        if self.choices:
            made["enum"] = list(self.choices)
        if math.isfinite(self.least):
            made["exclusiveMinimum" if self.above else "minimum"] = self.least
        if math.isfinite(high):
            made["maximum"] = high
        return made

    def check(self, name: str, value: Any, most: float | None = None) -> Any:
        """The value as the head takes it. Raises UsageError that names the parameter and its range."""
        high = self.most if most is None else min(most, self.most)
        kinds: Any = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            raise UsageError(f"'{name}' must be {WORDS_OF[self.kind]}")
        if self.choices and value not in self.choices:
            raise UsageError(f"'{name}' must be one of {listing(self.choices)}")
        if self.kind is list:
            if len(value) > high or not all(isinstance(one, str) and 0 < len(one) <= LONGEST for one in value):
                raise UsageError(f"'{name}' must be a list of at most {high:g} texts of 1 to {LONGEST} characters")
            return tuple(whole_characters(one) for one in value)
        if self.kind in (int, float) and not (self.least < value <= high if self.above else self.least <= value <= high):
            raise UsageError(f"'{name}' must be {_range(self.least, high, above=self.above)}, not {value}")
        return value


def _range(least: float, most: float, *, above: bool) -> str:
    low = f"over {_shown(least)}" if above else f"at least {_shown(least)}"
    return low if math.isinf(most) else f"{low} and at most {_shown(most)}"


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


# How a text is generated, as the tasks of Hugging Face call it.
WRITING: Mapping[str, Parameter] = MappingProxyType(
    {
        name: Parameter(kind=row.kind, help=row.help, least=row.least, above=row.above, most=row.most, goes=f"decoding.{name}")
        for name, row in RANGES.items()
    }
    | {
        "do_sample": Parameter(kind=bool, help="False: no sampling. True: sampling, by default at temperature 1."),
        "stop": Parameter(kind=list, help="A text ends before any of these.", most=16, goes="decoding.stop"),
    }
)


def rows_of(asks: Asks, inputs: Any, *, most: int, chars: int, name: str = "inputs") -> list[Row]:
    """Inputs as a request has them -> rows. most: inputs; chars: characters of a text; name: of the field that has them.

    Raises UsageError for another shape, too many or too long texts, DataError for an empty text where there must be one.
    """
    many = inputs if isinstance(inputs, list) else [inputs]
    if not many:
        raise UsageError(f"'{name}' is empty", f"It takes {asks.words()}")
    if len(many) > most:
        raise UsageError(f"'{name}' has {len(many)} texts and at most {most} are taken", "Send them in several requests")
    rows = [_row(asks, one, f"{name}[{i}]" if isinstance(inputs, list) else name, chars) for i, one in enumerate(many)]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise UsageError(f"'{name}' has pairs of texts and single texts", "Send them in two requests")
    return rows


def _row(asks: Asks, value: Any, place: str, chars: int) -> Row:
    named = isinstance(value, dict)
    if isinstance(value, str) and len(asks.texts) == 1:
        value = {next(iter(asks.texts)): value}
    if not isinstance(value, dict):
        raise UsageError(f"'{place}' has another shape", f"It takes {asks.words()}")
    roles = {**asks.texts, **asks.more}
    wrong = next((name for name in value if name not in roles), None) or next((n for n in asks.texts if n not in value), None)
    if wrong is not None:
        raise UsageError(f"'{place}' {'holds' if wrong in value else 'lacks'} '{wrong[:40]}'", f"It takes {asks.words()}")
    row: Row = {}
    for name, text in value.items():
        at = f"{place}.{name}" if named else place
        if not isinstance(text, str):
            raise UsageError(f"'{at}' must be a text", f"It takes {asks.words()}")
        if len(text) > chars:
            raise UsageError(f"'{at}' has {len(text)} characters: at most {chars} are taken", "Shorten it")
        if not asks.blank and is_blank(text):
            raise DataError(f"'{at}' is empty")
        row[roles[name]] = whole_characters(text)
    return row


def options_of(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], most: Mapping[str, float]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of a request -> fields of the head (under "decoding" those of its Decoding), and what its reply heeds.

    most: bounds of the server for some of them. Raises UsageError: an unknown one, a value out of range, a contradiction.
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
    if drawing := reply.pop("do_sample", None):
        sampling.setdefault("temperature", 1.0)
    elif drawing is False:
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
    """Rows that are drawn for, each with a seed of its own, and the options without theirs: those who ask with other seeds, or
    with none, can then share a batch.

    The first of equal rows has the seed of the options, so that it is drawn as if it were alone; where there is none, one that
    nobody knows. What draws nothing stays as it is.
    """
    sampling = dict(options.get("sampling", {}))
    if not sampling.get("temperature"):
        return rows, options
    given = sampling.pop("seed", None)
    seed = secrets.randbits(SEED_BITS) if given is None else given
    made: list[Row] = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        number = seen[key := tuple(row.items())]
        seen[key] += 1
        own = random.Random(f"{seed} {number}").getrandbits(SEED_BITS) if number else seed
        made.append({**row, "seed": own})
    return made, {**options, "sampling": sampling}


def parameters_schema(parameters: Mapping[str, Parameter], most: Mapping[str, float]) -> dict[str, Any]:
    """The JSON Schema of `parameters`."""
    known = {name: row.schema(most.get(name)) for name, row in parameters.items()}
    return {"type": "object", "properties": known, "additionalProperties": False}


def _object(**properties: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _NUMBER, _PLACE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_SPAN = _object(answer=_TEXT, score=_NUMBER, start=_PLACE, end=_PLACE)
_WORD = _object(score=_NUMBER, token_str=_TEXT, sequence=_TEXT)
# what the reply to one input is
LABELS: Schema = _list(_object(label=_TEXT, score=_NUMBER))
ENTITIES: Schema = _list(_object(entity_group=_TEXT, score=_NUMBER, word=_TEXT, start=_PLACE, end=_PLACE))
SPANS: Schema = {"anyOf": [_SPAN, _list(_SPAN)]}
TEXTS: Schema = _list(_object(generated_text=_TEXT))
WORDS: Schema = {"anyOf": [_list(_WORD), _list(_list(_WORD))]}
VECTOR: Schema = {"anyOf": [_list(_NUMBER), _object(score=_NUMBER)]}


def texts_reply(answer: Mapping[str, Any], before: str = "") -> list[dict[str, str]]:
    """The texts that were written, each after `before`."""
    texts: Sequence[str] = answer.get("samples") or [answer["text"]]
    return [{"generated_text": before + text} for text in texts]
