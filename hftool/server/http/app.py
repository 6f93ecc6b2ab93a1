"""The ASGI application: routes and middleware."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp

from hftool.server.http.access_log import AccessLogMiddleware
from hftool.server.http.auth import HostGuard, KeyGuard
from hftool.server.http.body_limit import BodyLimit
from hftool.server.http.openapi import Operation, Responses, described, document, errors, ok
from hftool.server.http.web_page import page_headers, read_page
from hftool.server.limits import Limits
from hftool.server.prometheus import CONTENT_TYPE, Stats
from hftool.server.protocols import openai, tasks
from hftool.server.protocols.http_errors import NEVER_CACHED, HttpError, as_response
from hftool.server.protocols.schemas import json_schema
from hftool.server.protocols.served_model import ServedModel, limits_info


@dataclass(kw_only=True)
class Service:
    """The state of a server."""

    models: Mapping[str, ServedModel]  # by name; the first one answers /predict
    limits: Limits  # of requests and queues
    stats: Stats  # the metrics
    keys: Sequence[str] = ()  # API keys; none: no key is needed
    hosts: Sequence[str] = ()  # allowed names in the Host header; none: any
    release: str = ""  # version of hftool
    started: int = field(default_factory=lambda: int(time.time()))  # seconds since 1970
    stopping: bool = False  # whether new requests are refused

    @property
    def ready(self) -> bool:
        """Whether requests are accepted and all models are ready."""
        return not self.stopping and all(served.batcher.ready for served in self.models.values())


def make_app(service: Service) -> ASGIApp:
    """The application with its middleware; the outermost, which sees a request first, is the last."""
    operations = [*_task_api(service), *_openai_api(service), *_health(service), *_info(service)]
    operations.append(_document(operations, service.release))
    inner = Router([one.route() for one in operations], redirect_slashes=False)
    guarded = BodyLimit(inner, limit=service.limits.body_bytes, slow=service.limits.slow)
    keyed = KeyGuard(guarded, keys=service.keys)
    known = {one.path for one in operations}
    return AccessLogMiddleware(HostGuard(keyed, names=service.hosts), stats=service.stats, routes=known)


INFERENCE_ERRORS = (400, 401, 408, 413, 415, 421, 422, 429, 500, 503, 504)
ANY_OBJECT = {"type": "object"}
PLAIN_TEXT: Responses = {
    200: {"description": "In the Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def _task_api(service: Service) -> Iterator[Operation]:
    """The routes of Hugging Face's tasks."""

    async def _unknown(request: Request) -> Response:
        raise HttpError(404, f"there is no model '{request.path_params['name'][:80]}' here; see /info")

    for number, served in enumerate(service.models.values()):
        for path in (*(["/predict"] if number == 0 else []), f"/models/{served.name}/predict"):
            yield _predict(path, served, service.limits)
    yield Operation("/models/{name}/predict", _unknown, "POST")


def _predict(path: str, served: ServedModel, limits: Limits) -> Operation:
    model = tasks.request_model(served, limits)

    def _describe() -> dict[str, Any]:
        responses = {**ok(tasks.reply_schema(served)), **errors(*INFERENCE_ERRORS)}
        return described(f"Run {served.name} on inputs.", responses, json_schema(model))

    return Operation(path, functools.partial(tasks.predict, served, limits=limits, model=model), "POST", _describe)


def _openai_api(service: Service) -> Iterator[Operation]:
    models, limits = service.models, service.limits
    completion, embedding = openai.completion_request(limits), openai.EmbeddingRequest

    async def _listed(request: Request) -> Response:
        return openai.list_models(models, service.started)

    async def _model(request: Request) -> Response:
        request.scope["hftool"].route = "/v1/models/{name}"
        served = openai.find(models, request.path_params["name"])
        return as_response(openai.model_object(served.name, service.started))

    def _described_for(capable: list[ServedModel], body: type[BaseModel], field: str) -> Callable[[], dict[str, Any]] | None:
        responses = {**ok(ANY_OBJECT, streams=field == "prompt"), **errors(*INFERENCE_ERRORS, 404, openai=True)}
        summary = "Complete prompts." if field == "prompt" else "Embed texts."
        return (lambda: described(summary, responses, openai.body_schema(body, field, capable, limits))) if capable else None

    generators = [served for served in models.values() if served.generates]
    embedders = [served for served in models.values() if served.spec.embeds]
    complete = functools.partial(openai.complete, models, limits=limits, model=completion)
    embed = functools.partial(openai.embed, models, limits=limits)
    yield Operation("/v1/completions", complete, "POST", _described_for(generators, completion, "prompt"))
    yield Operation("/v1/embeddings", embed, "POST", _described_for(embedders, embedding, "input"))
    yield Operation("/v1/models", _listed, describe=lambda: described("The models.", {**ok(ANY_OBJECT), **errors(401, 421)}))
    yield Operation("/v1/models/{name}", _model)


def _health(service: Service) -> Iterator[Operation]:
    async def _live(request: Request) -> Response:
        return as_response({"status": "alive"})

    async def _ready(request: Request) -> Response:
        service.stats.set("hftool_ready", float(service.ready))
        if not service.ready:
            raise HttpError(503, "the server is about to stop" if service.stopping else "a model does not answer")
        return as_response({"status": "ready"})

    responses = {**ok(STATUS), **errors(421, 503)}
    yield Operation("/livez", _live, describe=lambda: described("The process runs.", {**ok(STATUS), **errors(421)}))
    for path in ("/readyz", "/health"):
        yield Operation(path, _ready, describe=lambda: described("All models answer.", responses))


def _info(service: Service) -> Iterator[Operation]:
    page = read_page()
    parameters = functools.cache(
        lambda: [tasks.parameters_schema(served, service.limits) for served in service.models.values()]
    )

    async def _models(request: Request) -> Response:
        known = [served.info(schema) for served, schema in zip(service.models.values(), parameters(), strict=True)]
        return as_response({"hftool": service.release, "models": known, "limits": limits_info(service.limits)})

    async def _metrics(request: Request) -> Response:
        service.stats.set("hftool_ready", float(service.ready))
        return Response(service.stats.render(), headers=NEVER_CACHED, media_type=CONTENT_TYPE)

    async def _web_page(request: Request) -> Response:
        return Response(page, headers=page_headers(page), media_type="text/html; charset=utf-8")

    info_responses = {**ok(ANY_OBJECT), **errors(401, 421)}
    yield Operation("/info", _models, describe=lambda: described("The models and the limits.", info_responses))
    yield Operation("/metrics", _metrics, describe=lambda: described("The metrics.", {**PLAIN_TEXT, **errors(401, 421)}))
    yield Operation("/", _web_page)


def _document(operations: Sequence[Operation], release: str) -> Operation:
    schema_of = functools.cache(lambda: document(operations, release))

    async def _schema(request: Request) -> Response:
        return as_response(schema_of())

    return Operation("/openapi.json", _schema)
