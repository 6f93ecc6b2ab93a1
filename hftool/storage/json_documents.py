"""Untrusted JSON documents: read from regular files only, of bounded size and depth, and validated against a schema.

A schema is a JSON Schema (https://json-schema.org) with these keywords: type, enum, minimum, maximum, minLength, pattern,
maxItems, items, properties, required, propertyNames, additionalProperties.
"""

import contextlib
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hftool.errors import DataError, InputMissing, Refused

Schema = Mapping[str, Any]
OBJECT: Schema = {"type": "object"}
MAX_BYTES = 64_000_000  # real ones have under 10 MB
INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))[^\\\0]+$"  # a relative file name that stays inside its folder
MAX_DEPTH = 64  # real ones have under 10 levels; other code copies documents recursively
SHOWN = 60  # characters of a value in an error message
NOT_A_FILE = "Put the file itself in its place"
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
NAMES = {"string": "text", "array": "list", "null": "null"}  # types in messages, where they differ from JSON's


def each(names: Iterable[str], schema: Schema) -> dict[str, Schema]:
    """The same schema for each of several properties."""
    return dict.fromkeys(names, schema)


def check_plain(path: Path) -> None:
    """Raise Refused when `path` leads to a pipe, a socket or a device, since opening one may block forever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # missing: opening it raises
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise Refused(f"'{path}' is not a plain file", NOT_A_FILE)


@contextlib.contextmanager
def open_plain(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file to read its bytes, without ever blocking. Raises Refused, OSError."""
    check_plain(path)
    # the file may be replaced meanwhile, so opening must not block and the open file is checked again
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refused(f"'{path}' is not a plain file", NOT_A_FILE)
        yield file


def read_document(path: Path, schema: Schema = OBJECT) -> Any:
    """Read a JSON file that fits a schema, by default any object: a dict, unless the schema allows other types.

    Raises:
        InputMissing: There is no such file, or it may not be read.
        Refused: It is not a regular file.
        DataError: It is too large, not JSON, nested too deeply, or does not fit the schema; the key is named.
    """
    document, fault = parse_file(path)
    if fault:
        raise DataError(f"'{path}' is damaged: {fault}")
    check_document(document, schema, path)
    return document


def parse_file(path: Path) -> tuple[Any, str]:
    """The document in a JSON file, and what is wrong with it; "" if nothing. Raises InputMissing, Refused."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= MAX_BYTES else b""
    except OSError as error:
        raise InputMissing(f"'{path}' cannot be read: {error.strerror or error}") from None
    if size > MAX_BYTES:
        return None, f"{size} bytes are no config"
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({error})"
    is_deep = any(depth > MAX_DEPTH for depth, _ in containers(document))
    return document, f"nested deeper than {MAX_DEPTH} levels" if is_deep else ""


def check_document(document: Any, schema: Schema, path: Path) -> None:
    """Raise DataError, with the file and the key, unless a document fits a schema."""
    fault = fault_of(document, schema)
    if fault:
        raise DataError(f"'{path}' is damaged: {fault}", "Put the file back as it was written")


def containers(root: Any) -> Iterator[tuple[int, Any]]:
    """(depth, value) of the root and every object and list in it, without recursion, since an attacker chooses the depth."""
    pending = [(1, root)]
    while pending:
        depth, item = pending.pop()
        yield depth, item
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        pending.extend((depth + 1, value) for value in inner if isinstance(value, (dict, list)))


def fault_of(value: Any, schema: Schema, key: str = "") -> str:
    """The first violation, such as "'labels[0]' must be a text, not a list"; "" if the value fits the schema."""
    if "type" in schema and not _is_of(value, schema["type"]):
        types = schema["type"]
        names = [NAMES.get(name, name) for name in ([types] if isinstance(types, str) else types)]
        kinds = " or ".join(name if name == "null" else f"{'an' if name[0] in 'aeio' else 'a'} {name}" for name in names)
        return f"'{key}' must be {kinds}, not {_shown(value)}" if key else f"not {kinds} but {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(map(_shown, schema["enum"]))
        return f"'{key}' must be {f'one of {known}' if len(schema['enum']) > 1 else known}, not {_shown(value)}"
    if isinstance(value, str):
        return _fault_of_text(value, schema, key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        return "" if least <= value <= most else f"'{key}' must be {_range(least, most)}, not {_shown(value)}"
    if isinstance(value, list):
        return _fault_of_list(value, schema, key)
    return _fault_of_object(value, schema, key) if isinstance(value, dict) else ""


def _fault_of_text(value: str, schema: Schema, key: str) -> str:
    if len(value) < schema.get("minLength", 0):
        return f"'{key}' must not be empty"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"'{key}' cannot be {_shown(value)}"
    return ""


def _fault_of_list(value: list[Any], schema: Schema, key: str) -> str:
    if len(value) > schema.get("maxItems", math.inf):
        return f"'{key}' must have at most {schema['maxItems']} items, not {len(value)}"
    if "items" not in schema:
        return ""
    return next(filter(None, (fault_of(item, schema["items"], f"{key}[{i}]") for i, item in enumerate(value))), "")


def _fault_of_object(value: dict[str, Any], schema: Schema, key: str) -> str:
    missing = next((name for name in schema.get("required", ()) if name not in value), None)
    if missing is not None:
        return f"it has no key '{f'{key}.' * bool(key)}{missing}'"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, item in value.items():
        inner = f"{key}.{name}" if key else name
        if name not in known and others is False:
            return f"unknown key '{inner}'"
        fault = fault_of(name, schema.get("propertyNames", {}), inner) or fault_of(item, known.get(name, others), inner)
        if fault:
            return fault
    return ""


def _is_of(value: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and not math.isfinite(value):  # NaN and Infinity are not JSON, but Python reads them
        return False
    return any(isinstance(value, TYPES[name]) for name in names)


def _range(least: float, most: float) -> str:
    if most == math.inf:
        return f"at least {least}"
    return f"at most {most}" if least == -math.inf else f"from {least} to {most}"


def _shown(value: Any) -> str:
    """A value on one line, truncated."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
