"""Pydantic types of requests, their JSON Schema for /openapi.json, and their validation errors as one-line messages."""

import functools
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row, replace_surrogates
from hftool.data.schema import IGNORED, is_blank
from hftool.errors import UsageError, did_you_mean, listing
from hftool.heads.inputs import InputSpec
from hftool.server.protocols.http_errors import unprocessable

STRICT = ConfigDict(strict=True, extra="forbid")
NoSurrogates = BeforeValidator(lambda value: replace_surrogates(value) if isinstance(value, str) else value)


# ---- types


def text_type(spec: InputSpec, chars: int) -> Any:
    """The type of a text of at most `chars` characters."""
    shown: dict[str, Any] = {}
    if spec.must_contain:  # checked by the head, whose error shows the text
        shown["pattern"] = "|".join("".join(f"\\{c}" if c in "[]|" else c for c in word) for word in spec.must_contain)
    elif not spec.allow_empty:  # only Python counts the separators of ASCII as \s
        ignored = "".join(f"\\u{ord(c):04x}" for c in IGNORED)
        shown = {"minLength": 1, "pattern": rf"[^\s\u001c-\u001f\u0085{ignored}]"}
    text = Annotated[str, Field(max_length=chars, json_schema_extra=shown), NoSurrogates]
    return text if spec.allow_empty else Annotated[text, AfterValidator(_check_blank)]


def inputs_type(spec: InputSpec, *, most: int, chars: int) -> Any:
    """The type of one input, or of a list of at most `most`; its value is a list of rows.

    With a single field an input may also be a plain text.
    """
    text, every = text_type(spec, chars), {**spec.fields, **spec.optional}
    kinds = [strict_dict(dict.fromkeys(names, text)) for names in ([spec.fields, every] if spec.optional else [every])]
    kinds = [text, *kinds] if len(spec.fields) == 1 else kinds
    shown = union_type(*kinds, *(list_type(kind, most) for kind in kinds))
    item = strict_dict({name: text if name in spec.fields else NotRequired[text] for name in every})
    [name, *others] = spec.fields

    def _as_list(value: Any) -> list[Any]:
        many = value if isinstance(value, list) else [value]
        return many if others else [{name: one} if isinstance(one, str) else one for one in many]

    def _as_rows(values: list[dict[str, str]]) -> list[Row]:
        if any(value.keys() != values[0].keys() for value in values):
            raise PydanticCustomError("mixed", "pairs of texts and single texts")
        return [{every[name]: text for name, text in value.items()} for value in values]

    before = BeforeValidator(_as_list, json_schema_input_type=shown)
    return Annotated[list_type(item, most), Field(description=_in_words(spec)), before, AfterValidator(_as_rows)]


def strict_dict(fields: Mapping[str, Any], *, optional: bool = False) -> Any:
    """The type of an object with these fields and no others. `optional`: whether each may be left out."""
    result: Any = TypedDict("Fields", fields, total=not optional)  # type: ignore[misc]
    return with_config(STRICT)(result)


def list_type(item: Any, most: int) -> Any:
    """The type of a list of one to `most` items."""
    return Annotated[list[item], Field(min_length=1, max_length=most)]


def union_type(*kinds: Any) -> Any:
    """The type of a value of any of these types."""
    return functools.reduce(operator.or_, kinds)


def _check_blank(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("blank", "is empty")
    return text


def _in_words(spec: InputSpec) -> str:
    names = "{" + ", ".join(f'"{name}": TEXT' for name in (*spec.fields, *spec.optional)) + "}"
    return f"a text, {names}, or a list of these" if len(spec.fields) == 1 else f"{names} or a list of these"


# ---- JSON Schema


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type, without references, which would not be valid within an OpenAPI document, and titles."""
    document = TypeAdapter(kind).json_schema()
    schema: dict[str, Any] = _inlined(document, document.pop("$defs", {}))
    return schema


_model_schema = functools.lru_cache(maxsize=256)(json_schema)


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**definitions[schema["$ref"].rpartition("/")[2]], **rest}, definitions)
    return {
        key: _inlined(value, definitions) for key, value in schema.items() if not (key == "title" and isinstance(value, str))
    }


# ---- errors

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "object": "an object",
}
BOUNDS = {"minimum": "at least {}", "exclusiveMinimum": "over {}", "maximum": "at most {}"}
INPUTS = ("inputs", "prompt", "input")  # the fields of the texts
# pydantic's types of error in these fields -> message, and what to do
TEXT_ERRORS = {
    "blank": ("is empty", ""),
    "dict_type": ("has another shape", "It takes {description}"),
    "mixed": ("has pairs of texts and single texts", "Send them in two requests"),
    "string_too_long": ("has {length} characters: at most {max_length} are taken", "Shorten it"),
    "string_type": ("must be a text", "It takes {description}"),
    "too_long": ("has {actual_length} texts and at most {max_length} are taken", "Send them in several requests"),
    "too_short": ("is empty", "It takes {description}"),
}


def validate(model: type[BaseModel], document: Mapping[str, Any]) -> Any:
    """Validate the body of a request. Raises HttpError 422 that names the field and says what it must be."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        raise unprocessable(_explained(first, document, _model_schema(model)), str(first["loc"][0])[:60]) from None


def _explained(error: Any, document: Mapping[str, Any], schema: Mapping[str, Any]) -> UsageError:
    kind, loc, value = error["type"], error["loc"], error["input"]
    if kind in ("extra_forbidden", "missing"):
        return _wrong_name(kind, loc[-1][:60], *_locate(loc[:-1], document, schema))
    if loc[0] in INPUTS:
        path, _ = _locate(loc, document, schema)
        text, hint = TEXT_ERRORS[kind]
        known = {**error.get("ctx", {}), "length": len(value) if isinstance(value, str) else 0}
        return UsageError(f"'{path}' {text.format(**known)}", hint.format(**schema["properties"][loc[0]]))
    path, field = _locate([part for part in loc if isinstance(part, str)], document, schema)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isinstance(loc[-1], str)
    return UsageError(f"'{path.removeprefix('parameters.')}' must be {_required(field)}{f', not {value}' if is_number else ''}")


def _wrong_name(kind: str, name: str, path: str, field: Mapping[str, Any]) -> UsageError:
    """The error of an unknown or a missing name in an object."""
    known = field.get("properties", {})
    if path == "parameters":
        names = f"Parameters: {', '.join(known)}" if known else "This model takes none"
        return UsageError(f"unknown parameter '{name}'", did_you_mean(name, known, otherwise=names))
    where, takes = (f"'{path}'", field.get("description")) if path else ("the body", ", ".join(known))
    return UsageError(f"{where} {'lacks' if kind == 'missing' else 'holds'} '{name}'", f"It takes {takes}" if takes else "")


def _locate(loc: Sequence[Any], document: Any, schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The path of a field as the client wrote it, without pydantic's names of types, and its JSON Schema."""
    path = ""
    for part in loc:
        if isinstance(document, dict) and part in document:
            path, document = f"{path}.{part}", document[part]
            objects = (one.get("properties", {}) for one in (schema, *schema.get("anyOf", ())))
            schema = next((one[part] for one in objects if part in one), schema)
        elif isinstance(document, list) and isinstance(part, int):
            path, document = f"{path}[{part}]", document[part]
    return path.removeprefix("."), schema


def _required(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema requires, in words."""
    if "anyOf" in schema:
        return " or ".join(_required(one) for one in schema["anyOf"] if one != {"type": "null"})
    if "const" in schema or schema.get("maxProperties") == 0:
        return json.dumps(schema.get("const", {}))
    if "enum" in schema:
        return f"one of {listing(schema['enum'])}"
    if schema["type"] == "array":
        return f"a list of texts, at most {schema['maxItems']} {_required(schema['items']).replace('a text', 'texts')}"
    if "maxLength" in schema:
        return f"a text of {schema['minLength']} to {schema['maxLength']} characters"
    bounds = " and ".join(words.format(_plain(schema[key])) for key, words in BOUNDS.items() if key in schema)
    return KINDS.get(schema["type"], str(schema["type"])) + (f", {bounds}" if bounds else "")


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
