"""The protocol of Hugging Face's tasks: {"inputs": ..., "parameters": {...}}.

One input has one reply, a list of inputs a list of replies.
"""

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
from hftool.server.protocols.requests import Fault, as_response, fault_of, read_json
from hftool.server.protocols.served_model import ServedModel, ask, cancel_on_disconnect, ceilings

CUT = "x-hftool-cut"  # tokens of the inputs that did not fit into the model


class Asked(BaseModel):
    """The body of a request; what `inputs` and `parameters` may be is for the head to say."""

    model_config = ConfigDict(strict=True, extra="forbid")

    inputs: Any
    parameters: dict[str, Any] = Field(default_factory=dict)
    stream: bool = False


async def predict(served: ServedModel, request: Request, limits: Limits) -> Response:
    """Answer the inputs. Raises Fault.

    A text that the model fails on has {"error", "error_type"} in its place in a list, and is the error where it is alone.
    """
    served.note(request)
    asked = checked(Asked, read_json(await request.body()))
    if asked.stream:
        raise Fault(422, "'stream': answers come whole here; /v1/completions streams", param="stream")
    try:
        rows = rows_of(served.head.asks, asked.inputs, most=limits.inputs, chars=limits.text_chars)
        options, heeded = options_of(served.head.parameters, asked.parameters, ceilings(limits))
    except HftoolError as error:
        raise fault_of(error) from None
    answers = await cancel_on_disconnect(request, ask(served, request, rows, options, timeout=limits.timeout))
    replies: list[Any] = []
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        if isinstance(answer, HftoolError):
            raise Fault(422, f"inputs[{i}]: {answer}" if len(rows) > 1 else str(answer))
        replies.append(_model_fault(answer) if isinstance(answer, RowFailed) else served.head.reply(row, answer, heeded))
    failed = [one for one in answers if isinstance(one, RowFailed)]
    if len(failed) == len(answers):
        raise Fault(500, str(failed[0]))
    cut = sum(int(one.get("cut", 0)) for one in answers if isinstance(one, dict))
    document = replies if isinstance(asked.inputs, list) or is_nested(served) else replies[0]
    return as_response(document, headers={CUT: str(cut)} if cut else None)


def is_nested(served: ServedModel) -> bool:
    """Whether the reply to a single input is a list of one reply, as in the Hub's API for labels:
    https://huggingface.co/docs/inference-providers/tasks/text-classification"""
    return head_spec(served.head.head_config.head).nested_reply


def _model_fault(error: RowFailed) -> dict[str, str]:
    return {"error": str(error), "error_type": "model"}


def checked(kind: type[Any], document: Mapping[str, Any]) -> Any:
    """The document as a value of this kind. Raises Fault 422 that names the field."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        # a value that may be of several kinds has an error for each of them: what is wrong within its own kind says more than
        # that it is of none of the others
        own = [one for one in found if one["loc"][0] == found[0]["loc"][0] and not one["type"].endswith("_type")]
        first = own[0] if own else found[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in kind.model_fields)
        place = place or str(first["loc"][0])[:60]
        raise Fault(422, f"'{place}': {first['msg'][:200]}", param=place.partition(".")[0]) from None


def request_schema(served: ServedModel, limits: Limits) -> dict[str, Any]:
    """The JSON Schema of a request to this model."""
    inputs = served.head.asks.schema(inputs=limits.inputs, chars=limits.text_chars)
    parameters = parameters_schema(served.head.parameters, ceilings(limits))
    known = {"inputs": inputs, "parameters": parameters, "stream": {"type": "boolean", "enum": [False]}}
    return {"type": "object", "properties": known, "required": ["inputs"], "additionalProperties": False}


def reply_schema(served: ServedModel) -> dict[str, Any]:
    """The JSON Schema of its replies."""
    failed = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error", "error_type"]}
    one = dict(served.head.replies)
    several = {"type": "array", "items": {"anyOf": [one, failed]}}
    return several if is_nested(served) else {"anyOf": [one, several]}
