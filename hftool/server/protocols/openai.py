"""OpenAI's API: models, completions with streaming, and embeddings.

https://platform.openai.com/docs/api-reference/completions and /embeddings
"""

import asyncio
import base64
import functools
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.inputs import input_spec
from hftool.heads.protocol import Answer
from hftool.inference.streaming import TextStreamer
from hftool.server.batching.batcher import RowError, RowFailed
from hftool.server.limits import Limits
from hftool.server.protocols.http_errors import NEVER_CACHED, HttpError, as_response, unprocessable
from hftool.server.protocols.prompts import prompt_rows, prompt_schema
from hftool.server.protocols.requests import parse_json_body
from hftool.server.protocols.sampling import StopString, parameter_type, sampling_options
from hftool.server.protocols.schemas import STRICT, json_schema, validate
from hftool.server.protocols.served_model import ClientDisconnected, ServedModel, cancel_on_disconnect, submit, wait_disconnect

MAX_TOKENS = 16  # OpenAI's default


class StreamOptions(BaseModel):
    """The options of a stream."""

    model_config = STRICT

    include_usage: bool = False


class CompletionFields(BaseModel):
    """The body of a completion. Unsupported fields may have the value that disables them."""

    model_config = STRICT

    model: str
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    suffix: Literal[""] | None = None
    best_of: int | None = Field(default=None, ge=1, le=1)
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)


class EmbeddingRequest(BaseModel):
    """The body of a request for embeddings."""

    model_config = STRICT

    model: str
    input: Any  # see prompt_rows
    encoding_format: Literal["float", "base64"] | None = "float"
    user: str | None = None


def completion_request(limits: Limits) -> type[BaseModel]:
    """The model of the body of a completion, with the limits of this server."""
    fields: dict[str, Any] = {
        "prompt": (Any, ...),  # see prompt_rows
        "n": (parameter_type("num_return_sequences", limits.samples) | None, 1),
        "max_tokens": (parameter_type("max_new_tokens", limits.max_new_tokens) | None, MAX_TOKENS),
        "top_p": (parameter_type("top_p") | None, 1.0),
        "seed": (parameter_type("seed") | None, None),
        "stop": (StopString | Annotated[list[StopString], Field(max_length=limits.stops)] | None, None),
    }
    return create_model("CompletionRequest", __base__=CompletionFields, **fields)


def body_schema(body: type[BaseModel], field: str, models: Sequence[ServedModel], limits: Limits) -> dict[str, Any]:
    """The JSON Schema of a body whose texts are in `field`, for the models that support it."""
    schema, spec = json_schema(body), input_spec(models[0].head)
    schema["properties"][field] = prompt_schema(spec, most=limits.inputs, chars=limits.text_chars)
    schema["properties"]["model"] = {"type": "string", "enum": [served.name for served in models]}
    return schema


def list_models(models: Mapping[str, ServedModel], created: int) -> Response:
    """The response of /v1/models."""
    return as_response({"object": "list", "data": [model_object(name, created) for name in models]})


def model_object(name: str, created: int) -> dict[str, Any]:
    """A model in this protocol. `created`: seconds since 1970."""
    return {"id": name, "object": "model", "created": created, "owned_by": "hftool"}


def find(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """Find a model by its name. Raises HttpError 404."""
    if name not in models:
        raise HttpError(404, f"there is no model '{name[:80]}' here; see /v1/models", param="model")
    return models[name]


class CompletionText(NamedTuple):
    """A generated text, its finish reason and its number of tokens."""

    text: str
    finish: str
    tokens: int


@dataclass
class PendingCompletion:
    """A completion in progress. `rows`: its prompts. `tokens`: of the prompts."""

    served: ServedModel
    body: Any
    rows: Sequence[Row]
    options: Mapping[str, Any]
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    tokens: int = 0

    @property
    def n(self) -> int:
        """Texts for each prompt."""
        return int(self.body.n or 1)

    def count_prompt(self, _row: int, tokens: int) -> None:
        """Add the tokens of a prompt."""
        self.tokens += tokens

    def document(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, int] | None = None) -> dict[str, Any]:
        """A response, or an event of a stream."""
        document = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.served.name}
        return {**document, "choices": list(choices), **({"usage": usage} if usage is not None else {})}

    def texts(self, answers: Sequence[Answer | RowError]) -> list[CompletionText]:
        """The generated texts of all prompts. Raises HttpError if a prompt has none."""
        generated: list[CompletionText] = []
        for answer in answers:
            if isinstance(answer, HftoolError):
                raise unprocessable(answer, "prompt")
            if isinstance(answer, RowFailed):
                raise HttpError(500, str(answer))
            texts, ends = answer.get("samples") or [answer["text"]], answer["ends"]
            own = [CompletionText(text, *end) for text, end in zip(texts, ends, strict=True)]
            generated += own if len(own) == self.n else own * self.n  # without sampling it was generated once
        return generated

    def usage(self, texts: Sequence[CompletionText]) -> dict[str, int]:
        """The number of tokens of the prompts and of the texts."""
        completion = sum(text.tokens for text in texts)
        return {"prompt_tokens": self.tokens, "completion_tokens": completion, "total_tokens": self.tokens + completion}


async def complete(models: Mapping[str, ServedModel], request: Request, limits: Limits, model: type[BaseModel]) -> Response:
    """Complete the prompts of a request. Raises HttpError."""
    body: Any = validate(model, parse_json_body(await request.body()))
    served = find(models, body.model)
    served.record(request)
    if not served.generates:
        raise HttpError(
            422, f"'{served.name}' gives {served.spec.gives} and generates no text: POST /models/{served.name}/predict"
        )
    try:
        rows = prompt_rows(input_spec(served.head), body.prompt, name="prompt", most=limits.inputs, chars=limits.text_chars)
        options = {"sampling": sampling_options(_sampling(body)), "ends": True}
    except HftoolError as error:
        raise unprocessable(error, "prompt") from None
    pending = PendingCompletion(served, body, rows, options)
    if body.stream:
        return await _stream(pending, request, limits)
    answers = submit(served, request, rows, options, timeout=limits.timeout, on_tokenized=pending.count_prompt)
    texts = pending.texts(await cancel_on_disconnect(request, answers))
    choices = [_choice(i, text.text, text.finish) for i, text in enumerate(texts)]
    return as_response(pending.document(choices, pending.usage(texts)))


def _sampling(body: Any) -> dict[str, Any]:
    temperature = 1.0 if body.temperature is None else float(body.temperature)
    sampling: dict[str, Any] = {"max_new_tokens": body.max_tokens or MAX_TOKENS, "temperature": temperature}
    sampling["num_return_sequences"] = (
        int(body.n or 1) if temperature > 0 else 1
    )  # without sampling all are equal: generate one
    if body.top_p is not None and body.top_p < 1:
        sampling["top_p"] = float(body.top_p)
    if body.seed is not None:
        sampling["seed"] = body.seed
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    if stop:
        sampling["stop"] = tuple(stop)
    return sampling


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


# ---- the stream

Event = tuple[int, str]  # index of the choice, piece of text


class _EventStream(StreamingResponse):
    """A stream that cancels the generation when it ends, also by a disconnect, which merely abandons the iterator."""

    def __init__(self, body: AsyncIterator[bytes], task: "asyncio.Task[Any]", headers: Mapping[str, str]) -> None:
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self.task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.task.cancel()


async def _stream(pending: PendingCompletion, request: Request, limits: Limits) -> Response:
    """Stream server-sent events as the text is generated. Failures before the first event are normal error responses."""
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    streamers = [TextStreamer(pending.served.tokenizer, functools.partial(_put, events, i)) for i in range(len(pending.rows))]
    served, rows, options = pending.served, pending.rows, pending.options
    live = pending.n == 1
    on_token = (lambda row, token: streamers[row].take(token)) if live else None
    answers = submit(
        served, request, rows, options, timeout=limits.timeout, on_token=on_token, on_tokenized=pending.count_prompt
    )
    task = asyncio.ensure_future(answers)
    task.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # else asyncio warns of an exception never retrieved
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        first = await _first(events, request)
        if first is None:
            pending.texts(task.result())  # raises the error, if there is one
    except BaseException:
        task.cancel()
        raise
    headers = {**NEVER_CACHED, "x-accel-buffering": "no"}
    body = _events(pending, task, events, first, streamers if live else None)
    return _EventStream(body, task, headers)


def _put(events: "asyncio.Queue[Event | None]", index: int, text: str) -> None:
    events.put_nowait((index, text))


async def _first(events: "asyncio.Queue[Event | None]", request: Request) -> Event | None:
    """The first event, or None if there will be none. Raises ClientDisconnected."""
    watched, disconnected = asyncio.ensure_future(events.get()), asyncio.ensure_future(wait_disconnect(request))
    try:
        await asyncio.wait({watched, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not watched.done():
            raise ClientDisconnected
        return watched.result()
    finally:
        watched.cancel()
        disconnected.cancel()


async def _events(
    pending: PendingCompletion,
    task: "asyncio.Task[list[Answer | RowError]]",
    events: "asyncio.Queue[Event | None]",
    first: Event | None,
    streamers: Sequence[TextStreamer] | None,
) -> AsyncIterator[bytes]:
    """Yield the events of a stream."""
    event = first
    while event is not None:
        index, piece = event
        yield _event(pending.document([_choice(index, piece, None)]))
        event = await events.get()
    try:
        texts = pending.texts(task.result())
    except HttpError as error:
        yield _event(error.as_json("/v1/completions"))
    else:
        for i, text in enumerate(texts):
            rest = text.text[streamers[i].shown :] if streamers else text.text
            yield _event(pending.document([_choice(i, rest, text.finish)]))
        if pending.body.stream_options is not None and pending.body.stream_options.include_usage:
            yield _event(pending.document([], pending.usage(texts)))
    yield b"data: [DONE]\n\n"


def _event(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", errors="replace") + b"\n\n"


# ---- embeddings


async def embed(models: Mapping[str, ServedModel], request: Request, limits: Limits) -> Response:
    """Embed the texts of a request. Raises HttpError."""
    body: Any = validate(EmbeddingRequest, parse_json_body(await request.body()))
    served = find(models, body.model)
    served.record(request)
    if not served.spec.embeds:
        raise HttpError(422, f"'{served.name}' gives {served.spec.gives} and no embeddings: POST /models/{served.name}/predict")
    try:
        rows = prompt_rows(input_spec(served.head), body.input, name="input", most=limits.inputs, chars=limits.text_chars)
    except HftoolError as error:
        raise unprocessable(error, "input") from None
    tokens = [0] * len(rows)
    answers = submit(served, request, rows, {}, timeout=limits.timeout, on_tokenized=tokens.__setitem__)
    data = []
    for i, answer in enumerate(await cancel_on_disconnect(request, answers)):
        if isinstance(answer, HftoolError):
            raise unprocessable(answer, "input")
        if isinstance(answer, RowFailed):
            raise HttpError(500, str(answer))
        data.append({"object": "embedding", "index": i, "embedding": _vector(answer["embedding"], body.encoding_format)})
    usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    return as_response({"object": "list", "data": data, "model": served.name, "usage": usage})


def _vector(vector: np.ndarray, encoding: str | None) -> list[float] | str:
    """The numbers, or their float32 bytes in base64, little-endian."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return list(vector.tolist())
