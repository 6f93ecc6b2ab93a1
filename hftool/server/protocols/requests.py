"""Strict parsing of request bodies: media type, size of the JSON, no duplicate names, no NaN."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hftool.server.protocols.http_errors import HttpError

MAX_DEPTH = 32  # of nested lists and objects
MAX_NAMES = 1000  # of one object
MAX_DIGITS = 19  # of an integer, as 2**63 has
ENCODINGS = ("identity", "")


def check_media(headers: Mapping[str, str]) -> None:
    """Raise HttpError 415 unless the body is uncompressed JSON in UTF-8.

    This also blocks pages of other sites: a browser sends this media type only after a CORS preflight, which fails.
    https://fetch.spec.whatwg.org/#cors-protocol
    """
    kind, _, rest = headers.get("content-type", "").partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise HttpError(415, "the body must be JSON in UTF-8: Content-Type: application/json")
    if headers.get("content-encoding", "").strip().lower() not in ENCODINGS:
        raise HttpError(415, "the body must not be compressed")


def parse_json_body(body: bytes) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Raises:
        HttpError: 400 for invalid JSON, duplicate names, NaN, too large numbers or too deep nesting; 422 for another type.
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise HttpError(400, f"the body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise HttpError(400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise HttpError(400, f"the body is nested deeper than {MAX_DEPTH}") from None
    if _is_deep(document):
        raise HttpError(400, f"the body is nested deeper than {MAX_DEPTH}")
    if not isinstance(document, dict):
        raise HttpError(422, "the body must be a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:  # each unknown one costs time in validation
        raise HttpError(400, f"an object of the body has more than {MAX_NAMES} names")
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise HttpError(400, f"the body has '{name[:60]}' twice")
        document[name] = value
    return document


def _refuse_constant(name: str) -> Any:
    raise HttpError(400, f"the body contains {name}, which is not JSON")


def _finite(digits: str) -> float:
    """A number with a point or an exponent. JSON Schema counts 2.0 as an integer."""
    number = float(digits)
    if not math.isfinite(number):
        raise HttpError(400, f"the number {digits[:20]} is too large")
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:
        raise HttpError(400, f"the number {digits[:20]}... is too large")
    return int(digits)


def _is_deep(document: Any) -> bool:
    """Whether it is nested too deeply. Not recursive, since the client controls the depth."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in _values(one) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _values(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
