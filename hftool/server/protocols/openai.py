"""OpenAI's protocol for models that write and models that give vectors: models, completions with streaming, embeddings.

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
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hftool.data.readers.tables import Row, whole_characters
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer
from hftool.heads.wire import LONGEST, settled
from hftool.inference.streaming import TextStreamer
from hftool.sampling import RANGES
from hftool.server.batching.batcher import RowError, RowFailed
from hftool.server.limits import Limits
from hftool.server.protocols.prompts import prompt_rows, prompt_schema
from hftool.server.protocols.requests import NEVER_CACHED, Fault, as_response, fault_of, read_json
from hftool.server.protocols.served_model import ClientGone, ServedModel, ask, cancel_on_disconnect, wait_disconnect
from hftool.server.protocols.tasks import checked

MAX_TOKENS = 16  # where a request does not say: as OpenAI's


class StreamOptions(BaseModel):
    """What a stream tells at its end."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False


class Completion(BaseModel):
    """The body of a completion. What is not done here may be there with the value that means that it is not wanted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    top_p: float | None = Field(default=1.0, gt=RANGES["top_p"].least, le=RANGES["top_p"].most)
    seed: int | None = Field(default=None, ge=0, le=int(RANGES["seed"].most))
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


class Embedding(BaseModel):
    """The body of a request for embeddings."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    input: Any  # see prompt_rows
    encoding_format: Literal["float", "base64"] | None = "float"
    user: str | None = None


def completion_body(limits: Limits) -> type[BaseModel]:
    """The body of a completion, with the bounds of this server."""
    word = _text(1, LONGEST)
    fields: dict[str, Any] = {
        "prompt": (Any, ...),  # see prompt_rows
        "n": (int | None, Field(default=1, ge=1, le=limits.samples)),
        "max_tokens": (int | None, Field(default=MAX_TOKENS, ge=1, le=limits.max_new_tokens)),
        "stop": (word | _listed(word, 0, limits.stops) | None, None),
    }
    return create_model("CompletionRequest", __base__=Completion, **fields)


def _text(least: int, most: int) -> Any:
    return Annotated[str, Field(min_length=least, max_length=most)]


def _listed(kind: Any, least: int, most: int) -> Any:
    return Annotated[list[kind], Field(min_length=least, max_length=most)]


def body_schema(kind: type[BaseModel], field: str, models: Sequence[ServedModel], limits: Limits) -> dict[str, Any]:
    """The JSON Schema of a body whose `field` has the texts, for the models that can answer it."""
    schema = kind.model_json_schema()
    inner = schema.pop("$defs", {})
    known = schema["properties"]
    for name, row in inner.items():  # a reference to the schema's own root is none in an OpenAPI document
        for key, value in known.items():
            known[key] = json.loads(json.dumps(value).replace(json.dumps({"$ref": f"#/$defs/{name}"}), json.dumps(row)))
    known[field] = prompt_schema(models[0].head.asks, most=limits.inputs, chars=limits.text_chars)
    known["model"] = {"type": "string", "enum": [served.name for served in models]}
    return schema


def list_models(models: Mapping[str, ServedModel], created: int) -> Response:
    """The names of all models."""
    return as_response({"object": "list", "data": [model_object(name, created) for name in models]})


def model_object(name: str, created: int) -> dict[str, Any]:
    """A model as this protocol tells of it. created: seconds since 1970."""
    return {"id": name, "object": "model", "created": created, "owned_by": "hftool"}


def find(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """Raises Fault 404."""
    if name not in models:
        raise Fault(404, f"there is no model '{name[:80]}' here; see /v1/models", param="model")
    return models[name]


class Text(NamedTuple):
    """A text that was written: why it ended, and how many tokens it has."""

    text: str
    finish: str
    tokens: int


@dataclass
class Writing:
    """A completion on its way. rows: its prompts. n: texts for each. tokens: of the prompts."""

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
        """A prompt has so many tokens."""
        self.tokens += tokens

    def document(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, int] | None = None) -> dict[str, Any]:
        """What is sent, whole or as a part of a stream."""
        made = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.served.name}
        return {**made, "choices": list(choices), **({"usage": usage} if usage is not None else {})}

    def texts(self, answers: Sequence[Answer | RowError]) -> list[Text]:
        """The texts of all prompts. Raises Fault where a prompt has none."""
        made: list[Text] = []
        for answer in answers:
            if isinstance(answer, HftoolError):
                raise fault_of(answer, "prompt")
            if isinstance(answer, RowFailed):
                raise Fault(500, str(answer))
            texts, ends = answer.get("samples") or [answer["text"]], answer["ends"]
            own = [Text(text, *end) for text, end in zip(texts, ends, strict=True)]
            made += own if len(own) == self.n else own * self.n  # what draws nothing was written once
        return made

    def usage(self, texts: Sequence[Text]) -> dict[str, int]:
        """Tokens of the prompts and of the texts."""
        written = sum(text.tokens for text in texts)
        return {"prompt_tokens": self.tokens, "completion_tokens": written, "total_tokens": self.tokens + written}


async def complete(models: Mapping[str, ServedModel], request: Request, limits: Limits, kind: type[BaseModel]) -> Response:
    """Write on after the prompts. Raises Fault."""
    body: Any = checked(kind, read_json(await request.body()))
    served = find(models, body.model)
    served.note(request)
    if not served.writes:
        raise Fault(422, f"'{served.name}' gives {served.head.gives} and writes nothing: POST /models/{served.name}/predict")
    try:
        rows = prompt_rows(served.head.asks, body.prompt, name="prompt", most=limits.inputs, chars=limits.text_chars)
        options = {"sampling": settled(_sampling(body)), "ends": True}
    except HftoolError as error:
        raise fault_of(error, "prompt") from None
    writing = Writing(served, body, rows, options)
    if body.stream:
        return await _stream(writing, request, limits)
    asked = ask(served, request, rows, options, timeout=limits.timeout, on_read=writing.count_prompt)
    texts = writing.texts(await cancel_on_disconnect(request, asked))
    choices = [_choice(i, made.text, made.finish) for i, made in enumerate(texts)]
    return as_response(writing.document(choices, writing.usage(texts)))


def _sampling(body: Any) -> dict[str, Any]:
    temperature = 1.0 if body.temperature is None else float(body.temperature)
    made: dict[str, Any] = {"max_new_tokens": body.max_tokens or MAX_TOKENS, "temperature": temperature}
    made["samples"] = int(body.n or 1) if temperature > 0 else 1  # without draws all would be the same: it is written once
    if body.top_p is not None and body.top_p < 1:
        made["top_p"] = float(body.top_p)
    if body.seed is not None:
        made["seed"] = body.seed
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    if stop:
        made["stop"] = tuple(whole_characters(word) for word in stop)
    return made


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


# ---- the stream

Event = tuple[int, str]  # choice, piece of text


class _Events(StreamingResponse):
    """A stream whose end, whatever it is, ends the writing: a client that goes leaves the iterator behind at any place, to be
    closed when it is collected."""

    def __init__(self, body: AsyncIterator[bytes], task: "asyncio.Task[Any]", headers: Mapping[str, str]) -> None:
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self.task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.task.cancel()


async def _stream(writing: Writing, request: Request, limits: Limits) -> Response:
    """Server-sent events, each piece as it is written. What goes wrong before the first of them is an error like any other."""
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    pieces = [TextStreamer(writing.served.tokenizer, functools.partial(_put, events, i)) for i in range(len(writing.rows))]
    served, rows, options = writing.served, writing.rows, writing.options
    live = writing.n == 1
    take = (lambda row, token: pieces[row].take(token)) if live else None
    asked = ask(served, request, rows, options, timeout=limits.timeout, on_text=take, on_read=writing.count_prompt)
    task = asyncio.ensure_future(asked)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio complains where nobody asks
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        first = await _first(events, request)
        if first is None:
            writing.texts(task.result())  # raises what there is to raise
    except BaseException:
        task.cancel()
        raise
    headers = {**NEVER_CACHED, "x-accel-buffering": "no"}
    body = _parts(writing, task, events, first, pieces if live else None)
    return _Events(body, task, headers)


def _put(events: "asyncio.Queue[Event | None]", index: int, text: str) -> None:
    events.put_nowait((index, text))


async def _first(events: "asyncio.Queue[Event | None]", request: Request) -> Event | None:
    """The first event, or None when there will be none. Raises ClientGone."""
    watched, is_cancelled = asyncio.ensure_future(events.get()), asyncio.ensure_future(wait_disconnect(request))
    try:
        await asyncio.wait({watched, is_cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if not watched.done():
            raise ClientGone
        return watched.result()
    finally:
        watched.cancel()
        is_cancelled.cancel()


async def _parts(
    writing: Writing,
    task: "asyncio.Task[list[Answer | RowError]]",
    events: "asyncio.Queue[Event | None]",
    first: Event | None,
    pieces: Sequence[TextStreamer] | None,
) -> AsyncIterator[bytes]:
    """The events of a stream."""
    event = first
    while event is not None:
        index, text = event
        yield _event(writing.document([_choice(index, text, None)]))
        event = await events.get()
    try:
        texts = writing.texts(task.result())
    except Fault as fault:
        yield _event(fault.as_json("/v1/completions"))
    else:
        for i, made in enumerate(texts):
            rest = made.text[pieces[i].shown :] if pieces else made.text
            yield _event(writing.document([_choice(i, rest, made.finish)]))
        if writing.body.stream_options is not None and writing.body.stream_options.include_usage:
            yield _event(writing.document([], writing.usage(texts)))
    yield b"data: [DONE]\n\n"


def _event(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", errors="replace") + b"\n\n"


# ---- embeddings


async def embed(models: Mapping[str, ServedModel], request: Request, limits: Limits, kind: type[BaseModel]) -> Response:
    """The vectors of texts, as the model gives them. Raises Fault."""
    body: Any = checked(kind, read_json(await request.body()))
    served = find(models, body.model)
    served.note(request)
    if served.head.gives != "vector":
        raise Fault(422, f"'{served.name}' gives {served.head.gives} and no vectors: POST /models/{served.name}/predict")
    try:
        rows = prompt_rows(served.head.asks, body.input, name="input", most=limits.inputs, chars=limits.text_chars)
    except HftoolError as error:
        raise fault_of(error, "input") from None
    tokens = [0] * len(rows)
    asked = ask(served, request, rows, {}, timeout=limits.timeout, on_read=tokens.__setitem__)
    data = []
    for i, answer in enumerate(await cancel_on_disconnect(request, asked)):
        if isinstance(answer, HftoolError):
            raise fault_of(answer, "input")
        if isinstance(answer, RowFailed):
            raise Fault(500, str(answer))
        data.append({"object": "embedding", "index": i, "embedding": _vector(answer["embedding"], body.encoding_format)})
    usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    return as_response({"object": "list", "data": data, "model": served.name, "usage": usage})


def _vector(vector: np.ndarray, encoding: str | None) -> list[float] | str:
    """The numbers, or their float32 bytes in base64, little end first."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return list(vector.tolist())
