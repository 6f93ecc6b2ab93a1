"""Hugging Face's task API: {"inputs": ..., "parameters": {...}}. One input gets one reply, a list a list of replies."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hftool.errors import HftoolError
from hftool.heads.wire import options_of, parameters_schema, rows_of
from hftool.registry.heads import head_spec
from hftool.server.batching.batcher import RowFailed
from hftool.server.limits import Limits
from hftool.server.protocols.requests import HttpError, as_response, read_json, unprocessable
from hftool.server.protocols.served_model import ServedModel, cancel_on_disconnect, ceilings, submit

TRUNCATED = "x-hftool-cut"  # number of truncated tokens of the inputs


class TaskRequest(BaseModel):
    """The body of a request; `inputs` and `parameters` are validated by the schema of the head."""

    model_config = ConfigDict(strict=True, extra="forbid")

    inputs: Any
    parameters: dict[str, Any] = Field(default_factory=dict)
    stream: bool = False


async def predict(served: ServedModel, request: Request, limits: Limits) -> Response:
    """Answer a request. A text on which the model fails gets {"error", "error_type"} as its reply in a list.

    Raises:
        HttpError: 500 if the model fails on all texts; 4xx for an invalid request.
    """
    served.record(request)
    body = validate(TaskRequest, read_json(await request.body()))
    if body.stream:
        raise HttpError(422, "'stream': this route does not stream; /v1/completions does", param="stream")
    try:
        rows = rows_of(served.head.input_spec, body.inputs, most=limits.inputs, chars=limits.text_chars)
        options, reply_options = options_of(served.head.parameters, body.parameters, ceilings(limits))
    except HftoolError as error:
        raise unprocessable(error) from None
    answers = await cancel_on_disconnect(request, submit(served, request, rows, options, timeout=limits.timeout))
    replies: list[Any] = []
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if isinstance(answer, HftoolError):
            raise HttpError(422, f"inputs[{i}]: {answer}" if len(rows) > 1 else str(answer))
        replies.append(_row_error(answer) if isinstance(answer, RowFailed) else served.head.reply(row, answer, reply_options))
    failed = [one for one in answers if isinstance(one, RowFailed)]
    if len(failed) == len(answers):
        raise HttpError(500, str(failed[0]))
    truncated = sum(int(one.get("cut", 0)) for one in answers if isinstance(one, dict))
    document = replies if isinstance(body.inputs, list) or is_nested(served) else replies[0]
    return as_response(document, headers={TRUNCATED: str(truncated)} if truncated else None)


def is_nested(served: ServedModel) -> bool:
    """Whether the reply to a single input is a list of one reply, as in the Hub's API for labels:
    https://huggingface.co/docs/inference-providers/tasks/text-classification"""
    return head_spec(served.head.head_config.head).nested_reply


def _row_error(error: RowFailed) -> dict[str, str]:
    return {"error": str(error), "error_type": "model"}


def validate(model: type[Any], document: Mapping[str, Any]) -> Any:
    """Validate a body with a pydantic model. Raises HttpError 422 that names the field."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        # a union has an error for each of its types: the one within the type of the value says the most
        own = [one for one in found if one["loc"][0] == found[0]["loc"][0] and not one["type"].endswith("_type")]
        first = own[0] if own else found[0]
        path = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in model.model_fields)
        path = path or str(first["loc"][0])[:60]
        raise HttpError(422, f"'{path}': {first['msg'][:200]}", param=path.partition(".")[0]) from None


def request_schema(served: ServedModel, limits: Limits) -> dict[str, Any]:
    """The JSON Schema of a request to this model."""
    inputs = served.head.input_spec.schema(inputs=limits.inputs, chars=limits.text_chars)
    parameters = parameters_schema(served.head.parameters, ceilings(limits))
    known = {"inputs": inputs, "parameters": parameters, "stream": {"type": "boolean", "enum": [False]}}
    return {"type": "object", "properties": known, "required": ["inputs"], "additionalProperties": False}


def reply_schema(served: ServedModel) -> dict[str, Any]:
    """The JSON Schema of a response of this model."""
    failed = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error", "error_type"]}
    one = dict(served.head.replies)
    several = {"type": "array", "items": {"anyOf": [one, failed]}}
    return several if is_nested(served) else {"anyOf": [one, several]}
