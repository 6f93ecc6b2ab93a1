"""The parts of the OpenAPI document that routes have in common."""

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
BEFORE = {400, 408, 431}  # what may be answered before a request is known to be OpenAI's


def ok(schema: Mapping[str, Any], *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answer of a route. streams: whether it may come as events."""
    content: dict[str, Any] = {"application/json": {"schema": dict(schema)}}
    if streams:
        content["text/event-stream"] = {}  # OpenAPI 3.1 has no words for the schema of an event
    return {200: {"description": "The answer.", "content": content}}


def errors(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, in the shape of its protocol."""
    made: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400, 431}):
        shape: dict[str, Any] = OPENAI if openai else HF
        if openai and status in BEFORE:
            shape = {"anyOf": [OPENAI, HF]}
        made[status] = {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": shape}}}
    return made


def described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a route say that its body is JSON of this schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}}}
