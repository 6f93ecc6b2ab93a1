"""What a request must be, and how each protocol says that it is not: that of Hugging Face's tasks, and OpenAI's under /v1."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from hftool.errors import HftoolError, as_line

DEEPEST = 32  # lists and objects within each other
NAMES = 1000  # in one object
DIGITS = 19  # of a whole number: 2**63 has so many
ENCODINGS = ("identity", "")
# status -> the word for it in Hugging Face's shape, and OpenAI's type and code
KINDS = {
    400: ("malformed", "invalid_request_error", "malformed"),
    401: ("unauthorized", "invalid_request_error", "invalid_api_key"),
    404: ("not_found", "invalid_request_error", "not_found"),
    405: ("not_allowed", "invalid_request_error", "method_not_allowed"),
    408: ("too_slow", "invalid_request_error", "request_timeout"),
    413: ("too_large", "invalid_request_error", "request_too_large"),
    415: ("media_type", "invalid_request_error", "unsupported_media_type"),
    421: ("host", "invalid_request_error", "host"),
    431: ("too_large", "invalid_request_error", "headers_too_large"),
    422: ("validation", "invalid_request_error", "invalid_value"),
    429: ("overloaded", "rate_limit_error", "rate_limit_exceeded"),
    500: ("internal", "server_error", "internal_error"),
    503: ("unavailable", "server_error", "unavailable"),
    504: ("timeout", "server_error", "timeout"),
}
NEVER_CACHED = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Fault(Exception):
    """An answer that is an error. status: of HTTP. param: the field at fault, where one is. headers: more of them."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = as_line(message)
        self.param = param
        self.headers = dict(headers or {})

    def as_json(self, path: str) -> dict[str, Any]:
        """The error in the shape of the protocol whose path it is."""
        word, kind, code = KINDS.get(self.status, KINDS[500 if self.status >= 500 else 400])
        if is_openai(path):
            return {"error": {"message": self.message, "type": kind, "param": self.param, "code": code}}
        return {"error": self.message, "error_type": word}

    def response(self, scope: Scope) -> Response:
        """The error as a response to this request."""
        return as_response(self.as_json(scope["path"]), self.status, self.headers)


def fault_of(error: HftoolError, param: str | None = None) -> Fault:
    """An error that a head raised over what it was given: the request cannot be processed."""
    return Fault(422, str(error), param=param)


def is_openai(path: str) -> bool:
    """Whether a path is OpenAI's."""
    return path == "/v1" or path.startswith("/v1/")


def as_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON. Raises ValueError for NaN, which is none."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", errors="replace")
    return Response(body, status, {**NEVER_CACHED, **(headers or {})}, media_type="application/json")


def check_media(headers: Mapping[str, str]) -> None:
    """Raises Fault 415 unless the body is plain JSON. A page of another site cannot send that without asking first, and is
    refused then: https://fetch.spec.whatwg.org/#cors-protocol"""
    kind, _, rest = headers.get("content-type", "").partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise Fault(415, "the body must be JSON in UTF-8: Content-Type: application/json")
    if headers.get("content-encoding", "").strip().lower() not in ENCODINGS:
        raise Fault(415, "the body must not be compressed")


def read_json(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, read strictly: no name twice, no NaN, no number that is too large, not nested too deeply.

    Raises Fault 400.
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise Fault(400, f"the body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise Fault(400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Fault(400, f"the body is nested deeper than {DEEPEST}") from None
    if _is_deep(document):
        raise Fault(400, f"the body is nested deeper than {DEEPEST}")
    if not isinstance(document, dict):
        raise Fault(422, "the body must be a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > NAMES:  # each that is not known costs the one who says so
        raise Fault(400, f"an object of the body has more than {NAMES} names")
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise Fault(400, f"the body has '{name[:60]}' twice")
        made[name] = value
    return made


def _no_constant(word: str) -> Any:
    raise Fault(400, f"the body holds {word}, which is not JSON")


def _finite(digits: str) -> float:
    """A number with a point or an exponent; one that is whole all the same is a whole number to JSON Schema, as 2.0."""
    number = float(digits)
    if not math.isfinite(number):
        raise Fault(400, f"the number {digits[:20]} is too large")
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _whole(digits: str) -> int:
    if len(digits) > DIGITS + 1:
        raise Fault(400, f"the number {digits[:20]}... is too large")
    return int(digits)


def _is_deep(document: Any) -> bool:
    """Level by level, not by recursion: the depth is a stranger's choice."""
    level = [document]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _values(one) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _values(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
