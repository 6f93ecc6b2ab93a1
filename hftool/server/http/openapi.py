"""OpenAPI fragments that several routes share."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

HF = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
    "required": ["error", "error_type"],
}
OPENAI = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
EARLY = {400, 408, 431}  # may be answered before the path is known, and with it the protocol


def ok(schema: Mapping[str, Any], *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """The 200 response of a route. `streams`: whether it may be server-sent events."""
    content: dict[str, Any] = {"application/json": {"schema": dict(schema)}}
    if streams:
        content["text/event-stream"] = {}  # OpenAPI 3.1 cannot describe the schema of an event
    return {200: {"description": "The answer.", "content": content}}


def errors(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, in the format of its protocol."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400, 431}):
        shape: dict[str, Any] = OPENAI if openai else HF
        if openai and status in EARLY:
            shape = {"anyOf": [OPENAI, HF]}
        responses[status] = {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": shape}}}
    return responses


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request body of a route: JSON of this schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}}}
