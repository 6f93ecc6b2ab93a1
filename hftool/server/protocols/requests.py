"""Strict parsing of request bodies, JSON responses, and errors in the format of each protocol (OpenAI's under /v1)."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from hftool.errors import HftoolError, as_line

MAX_DEPTH = 32  # of nested lists and objects
MAX_NAMES = 1000  # of one object
MAX_DIGITS = 19  # of an integer, as 2**63 has
ENCODINGS = ("identity", "")
# status -> error_type of Hugging Face's format, type and code of OpenAI's
ERRORS = {
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


class HttpError(Exception):
    """An error response: its HTTP status, its message, the invalid field (`param`) and additional headers."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = as_line(message)
        self.param = param
        self.headers = dict(headers or {})

    def as_json(self, path: str) -> dict[str, Any]:
        """The error in the format of the protocol that the path belongs to."""
        error_type, openai_type, code = ERRORS.get(self.status, ERRORS[500 if self.status >= 500 else 400])
        if is_openai(path):
            return {"error": {"message": self.message, "type": openai_type, "param": self.param, "code": code}}
        return {"error": self.message, "error_type": error_type}

    def response(self, scope: Scope) -> Response:
        """The error as a response to a request."""
        return as_response(self.as_json(scope["path"]), self.status, self.headers)


def unprocessable(error: HftoolError, param: str | None = None) -> HttpError:
    """The 422 for an invalid input."""
    return HttpError(422, str(error), param=param)


def is_openai(path: str) -> bool:
    """Whether a path belongs to OpenAI's protocol."""
    return path == "/v1" or path.startswith("/v1/")


def as_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. Raises ValueError for NaN, which is not JSON."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", errors="replace")
    return Response(body, status, {**NEVER_CACHED, **(headers or {})}, media_type="application/json")


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


def read_json(body: bytes) -> dict[str, Any]:
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
