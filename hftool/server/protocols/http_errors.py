"""JSON responses, and errors as responses: status (422, 429, 503, 504) and format of each protocol (OpenAI's under /v1)."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from hftool.errors import HftoolError, as_line
from hftool.server.batching.errors import Expired, Overloaded, Unavailable

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
        if path == "/v1" or path.startswith("/v1/"):
            return {"error": {"message": self.message, "type": openai_type, "param": self.param, "code": code}}
        return {"error": self.message, "error_type": error_type}

    def response(self, scope: Scope) -> Response:
        """The error as a response to a request."""
        return as_response(self.as_json(scope["path"]), self.status, self.headers)


def unprocessable(error: HftoolError, param: str | None = None) -> HttpError:
    """The 422 for an invalid input."""
    return HttpError(422, str(error), param=param)


def error_response(error: Overloaded | Expired | Unavailable | HftoolError) -> HttpError:
    """The error of a batcher, or of an invalid input, as an HttpError."""
    if isinstance(error, Overloaded):
        return HttpError(429, str(error), headers={"retry-after": str(error.retry_after)})
    if isinstance(error, Expired):
        return HttpError(504, str(error))
    if isinstance(error, Unavailable):
        return HttpError(503, str(error), headers={"retry-after": "1"})
    return unprocessable(error)


def as_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. Raises ValueError for NaN, which is not JSON."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", errors="replace")
    return Response(body, status, {**NEVER_CACHED, **(headers or {})}, media_type="application/json")
