"""Hugging Face's task API: {"inputs": ..., "parameters": {...}}. One input gets one reply, a list a list of replies."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from hftool.errors import HftoolError
from hftool.heads.inputs import input_spec
from hftool.server.batching.batcher import RowFailed
from hftool.server.limits import Limits
from hftool.server.protocols.http_errors import HttpError, as_response, unprocessable
from hftool.server.protocols.requests import parse_json_body
from hftool.server.protocols.sampling import NAMES, parameter_types, sampling_options
from hftool.server.protocols.schemas import STRICT, inputs_type, json_schema, strict_dict, validate
from hftool.server.protocols.served_model import ServedModel, cancel_on_disconnect, submit

TRUNCATED = "x-hftool-cut"  # number of truncated tokens of the inputs


class RowError(TypedDict):
    """The reply to a text on which the model fails."""

    error: str
    error_type: str


def request_model(served: ServedModel, limits: Limits) -> type[BaseModel]:
    """The model of the body of a request to a served model."""
    known: dict[str, Any] = {
        "inputs": (inputs_type(input_spec(served.head), most=limits.inputs, chars=limits.text_chars), ...),
        "parameters": (parameters_type(served, limits), Field(default_factory=dict)),
        "stream": (bool, Field(default=False, json_schema_extra={"const": False})),
    }
    return create_model("TaskRequest", __config__=STRICT, **known)


def parameters_type(served: ServedModel, limits: Limits) -> Any:
    """The type of the parameters of a served model: those of its head, and of sampling where it generates."""
    own = get_type_hints(get_type_hints(served.reply)["parameters"], include_extras=True)
    return strict_dict({**(parameter_types(limits) if served.generates else {}), **own}, optional=True)


def parameters_schema(served: ServedModel, limits: Limits) -> dict[str, Any]:
    """The JSON Schema of the parameters of a served model."""
    return json_schema(parameters_type(served, limits))


def options_of(served: ServedModel, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the parameters of a request into the options of the head, those of sampling under "sampling", and the rest, which
    only the reply uses. Raises UsageError if they contradict each other."""
    sampling = {name: value for name, value in parameters.items() if served.generates and name in NAMES}
    fields = {one.name for one in dataclasses.fields(cast(Any, served.head))}
    options = {name: value for name, value in parameters.items() if name in fields and name not in sampling}
    rest = {name: value for name, value in parameters.items() if name not in sampling and name not in fields}
    return options | ({"sampling": sampling_options(sampling)} if sampling else {}), rest


async def predict(served: ServedModel, request: Request, limits: Limits, model: type[BaseModel]) -> Response:
    """Answer a request. A text on which the model fails gets {"error", "error_type"} as its reply in a list.

    Raises:
        HttpError: 500 if the model fails on all texts; 4xx for an invalid request.
    """
    served.record(request)
    document = parse_json_body(await request.body())
    body = validate(model, document)
    if body.stream:
        raise HttpError(422, "'stream': this route does not stream; /v1/completions does", param="stream")
    try:
        options, parameters = options_of(served, body.parameters) if body.parameters else ({}, {})
    except HftoolError as error:
        raise unprocessable(error) from None
    rows, reply = body.inputs, served.reply
    answers = await cancel_on_disconnect(request, submit(served, request, rows, options, timeout=limits.timeout))
    replies: list[Any] = []
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if isinstance(answer, HftoolError):
            raise HttpError(422, f"inputs[{i}]: {answer}" if len(rows) > 1 else str(answer))
        replies.append(
            {"error": str(answer), "error_type": "model"} if isinstance(answer, RowFailed) else reply(row, answer, parameters)
        )
    failed = [one for one in answers if isinstance(one, RowFailed)]
    if len(failed) == len(answers):
        raise HttpError(500, str(failed[0]))
    truncated = sum(int(one.get("cut", 0)) for one in answers if isinstance(one, dict))
    content = replies if isinstance(document["inputs"], list) or served.spec.nested_reply else replies[0]
    return as_response(content, headers={TRUNCATED: str(truncated)} if truncated else None)


def reply_schema(served: ServedModel) -> dict[str, Any]:
    """The JSON Schema of a response of a served model.

    The Hub's API puts the reply to a single input into a list for some tasks:
    https://huggingface.co/docs/inference-providers/tasks/text-classification
    """
    one: Any = get_type_hints(served.reply)["return"]
    several = list[one | RowError]
    return json_schema(several if served.spec.nested_reply else one | several)
