"""The OpenAPI document of the routes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Responses = dict[int | str, dict[str, Any]]

TEXT, TEXT_OR_NULL = {"type": "string"}, {"type": ["string", "null"]}
HF = {"type": "object", "properties": {"error": TEXT, "error_type": TEXT}, "required": ["error", "error_type"]}
DETAILS = {"message": TEXT, "type": TEXT, "param": TEXT_OR_NULL, "code": TEXT_OR_NULL}
OPENAI = {
    "type": "object",
    "properties": {"error": {"type": "object", "properties": DETAILS, "required": list(DETAILS)}},
    "required": ["error"],
}
EARLY = {400, 408, 431}  # may be answered before the path is known, and with it the protocol


def ok(schema: Mapping[str, Any], *, streams: bool = False) -> Responses:
    """The 200 response of a route. `streams`: whether it may be server-sent events."""
    content: dict[str, Any] = {"application/json": {"schema": dict(schema)}}
    if streams:
        content["text/event-stream"] = {}  # OpenAPI 3.1 cannot describe the schema of an event
    return {200: {"description": "The answer.", "content": content}}


def errors(*statuses: int, openai: bool = False) -> Responses:
    """The error responses of a route, in the format of its protocol."""
    responses: Responses = {}
    for status in sorted({*statuses, 400, 431}):
        shape: dict[str, Any] = OPENAI if openai else HF
        if openai and status in EARLY:
            shape = {"anyOf": [OPENAI, HF]}
        responses[status] = {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": shape}}}
    return responses


@dataclass(frozen=True)
class Operation:
    """An operation of the server."""

    path: str  # its path
    endpoint: Callable[[Request], Awaitable[Response]]  # answers its requests
    method: str = "GET"  # GET also answers HEAD
    describe: Callable[[], Mapping[str, Any]] | None = None  # returns its part of the document; None leaves it out

    def route(self) -> Route:
        """The route of Starlette."""
        return Route(self.path, self.endpoint, methods=[self.method])


def described(summary: str, responses: Responses, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description of an operation. `body`: the JSON Schema of its request body, if it has one."""
    content = {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}} if body else {}
    return {"summary": summary, **content, "responses": responses}


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI document of the described operations."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        if one.describe is not None:
            method = one.method.lower()
            paths.setdefault(one.path, {})[method] = {"operationId": f"{method}{one.path}".replace("/", "_"), **one.describe()}
    return {"openapi": "3.1.0", "info": {"title": "hftool", "version": version}, "paths": paths}
