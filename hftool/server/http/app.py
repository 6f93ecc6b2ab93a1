"""The ASGI application: routes and middleware."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hftool.server.http.access_log import CLIENT_CLOSED, AccessLogMiddleware
from hftool.server.http.auth import HostGuard, KeyGuard
from hftool.server.http.openapi import errors, json_body, ok
from hftool.server.http.slow_clients import BodyGuard
from hftool.server.http.web_page import page_headers, read_page
from hftool.server.limits import Limits
from hftool.server.metrics import CONTENT_TYPE, Stats
from hftool.server.protocols import openai, tasks
from hftool.server.protocols.requests import NEVER_CACHED, HttpError, as_response
from hftool.server.protocols.served_model import ClientDisconnected, ServedModel, limits_info

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(kw_only=True)
class Service:
    """The state of a server.

    Attributes:
        models: By name; the first one answers /predict.
        limits: Of requests and queues.
        stats: The metrics.
        keys: API keys; none: no key is needed.
        hosts: Allowed names in the Host header; none: any.
        release: Version of hftool.
        started: Seconds since 1970.
        stopping: Whether new requests are refused.
    """

    models: Mapping[str, ServedModel]
    limits: Limits
    stats: Stats
    keys: Sequence[str] = ()
    hosts: Sequence[str] = ()
    release: str = ""
    started: int = field(default_factory=lambda: int(time.time()))
    stopping: bool = False

    @property
    def ready(self) -> bool:
        """Whether requests are accepted and all models are ready."""
        return not self.stopping and all(served.batcher.ready for served in self.models.values())


def make_app(service: Service) -> ASGIApp:
    """The application with its middleware; the outermost, which sees a request first, is the last."""
    inner = FastAPI(
        title="hftool", version=service.release, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    inner.add_exception_handler(HttpError, _http_error)
    inner.add_exception_handler(HTTPException, _starlette_error)
    inner.add_exception_handler(ClientDisconnected, _client_closed)
    inner.add_exception_handler(Exception, _internal_error)
    _add_health(inner, service)
    endpoints = {**_add_predict(inner, service), **_add_openai(inner, service)}
    _add_info(inner, service)
    guarded = BodyGuard(FastPathMiddleware(inner, endpoints), limit=service.limits.body_bytes, slow=service.limits.slow)
    keyed = KeyGuard(guarded, keys=service.keys)
    known = {route.path for route in inner.routes if isinstance(route, Route)}
    return AccessLogMiddleware(HostGuard(keyed, names=service.hosts), stats=service.stats, routes=known)


class FastPathMiddleware:
    """Calls the inference endpoints directly: they use none of FastAPI's layers, whose time the model could have.

    FastAPI still describes these routes and serves all others. `endpoints`: of POST requests, by path.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self.app = app
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request, or pass it on."""
        endpoint = self.endpoints.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except HttpError as error:
            response = await _http_error(request, error)
        except ClientDisconnected as error:
            response = await _client_closed(request, error)
        await response(scope, receive, send)


async def _http_error(request: Request, error: Any) -> Response:
    return error.response(request.scope)  # type: ignore[no-any-return]


async def _starlette_error(request: Request, error: Any) -> Response:
    """404 and 405 of the router."""
    texts = {404: "there is nothing here; see /openapi.json", 405: "this path has no such method"}
    text = texts.get(error.status_code, str(error.detail))
    return HttpError(error.status_code, text, headers=error.headers).response(request.scope)


async def _internal_error(request: Request, error: Any) -> Response:
    """The client gets no details; they are in the log."""
    return HttpError(500, "the server failed on this request").response(request.scope)


async def _client_closed(request: Request, error: Any) -> Response:
    return Response(status_code=CLIENT_CLOSED)


def _add(app: FastAPI, path: str, endpoint: Endpoint, **more: Any) -> None:
    """Add a route; GET routes also answer HEAD."""
    method = more.pop("method", "GET")
    name = f"{method.lower()}{path}".replace("/", "_").replace("{", "").replace("}", "")
    app.add_api_route(path, endpoint, methods=[method], operation_id=name, response_model=None, **more)
    if method == "GET":
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_model=None)


def _add_health(app: FastAPI, service: Service) -> None:
    async def live(request: Request) -> Response:
        return as_response({"status": "alive"})

    async def ready(request: Request) -> Response:
        service.stats.set("hftool_ready", float(service.ready))
        if not service.ready:
            raise HttpError(503, "the server is about to stop" if service.stopping else "a model does not answer")
        return as_response({"status": "ready"})

    state = ok({"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]})
    _add(app, "/livez", live, summary="The process runs.", responses={**state, **errors(421)})
    for path in ("/readyz", "/health"):
        _add(app, path, ready, summary="All models answer.", responses={**state, **errors(421, 503)})


def _add_predict(app: FastAPI, service: Service) -> dict[str, Endpoint]:
    """Add the routes of Hugging Face's tasks. Returns their endpoints by path."""
    limits = service.limits

    def endpoint_of(served: ServedModel) -> Endpoint:
        async def predict(request: Request) -> Response:
            return await tasks.predict(served, request, limits)

        return predict

    async def unknown(request: Request) -> Response:
        raise HttpError(404, f"there is no model '{request.path_params['name'][:80]}' here; see /info")

    first = next(iter(service.models))
    paths = {"/predict": first, **{f"/models/{name}/predict": name for name in service.models}}
    endpoints: dict[str, Endpoint] = {}
    for path, name in paths.items():
        served = service.models[name]
        endpoints[path] = endpoint_of(served)
        known = {**ok(tasks.reply_schema(served)), **errors(*INFERENCE_ERRORS)}
        extra = json_body(tasks.request_schema(served, limits))
        _add(app, path, endpoints[path], method="POST", summary=f"Run {name} on inputs.", responses=known, openapi_extra=extra)
    _add(app, "/models/{name}/predict", unknown, method="POST", include_in_schema=False)
    return endpoints


INFERENCE_ERRORS = (400, 401, 408, 413, 415, 421, 422, 429, 500, 503, 504)


def _add_openai(app: FastAPI, service: Service) -> dict[str, Endpoint]:
    """Add the routes of OpenAI. Returns their inference endpoints by path."""
    models, limits = service.models, service.limits
    completion, embedding = openai.completion_request(limits), openai.EmbeddingRequest

    async def listed(request: Request) -> Response:
        return openai.list_models(models, service.started)

    async def model(request: Request) -> Response:
        request.scope["hftool"].route = "/v1/models/{name}"
        served = openai.find(models, request.path_params["name"])
        return as_response(openai.model_object(served.name, service.started))

    async def complete(request: Request) -> Response:
        return await openai.complete(models, request, limits, completion)

    async def embed(request: Request) -> Response:
        return await openai.embed(models, request, limits)

    _add(app, "/v1/models", listed, summary="The models.", responses={**ok({"type": "object"}), **errors(401, 421)})
    _add(app, "/v1/models/{name}", model, include_in_schema=False)
    generators = [served for served in models.values() if served.generates]
    embedders = [served for served in models.values() if served.head.gives == "vector"]
    jobs: tuple[tuple[str, Endpoint, Any, str, list[ServedModel]], ...] = (
        ("/v1/completions", complete, completion, "prompt", generators),
        ("/v1/embeddings", embed, embedding, "input", embedders),
    )
    for path, endpoint, body, field_name, capable in jobs:
        more: dict[str, Any] = {"include_in_schema": bool(capable)}
        if capable:
            more["openapi_extra"] = json_body(openai.body_schema(body, field_name, capable, limits))
            more["responses"] = {
                **ok({"type": "object"}, streams=capable is generators),
                **errors(*INFERENCE_ERRORS, 404, openai=True),
            }
        _add(app, path, endpoint, method="POST", **more)
    return {path: endpoint for path, endpoint, *_ in jobs}


def _add_info(app: FastAPI, service: Service) -> None:
    page = read_page()

    async def info(request: Request) -> Response:
        known = [served.info(service.limits) for served in service.models.values()]
        return as_response({"hftool": service.release, "models": known, "limits": limits_info(service.limits)})

    async def metrics(request: Request) -> Response:
        service.stats.set("hftool_ready", float(service.ready))
        return Response(service.stats.render(), headers=NEVER_CACHED, media_type=CONTENT_TYPE)

    async def schema(request: Request) -> Response:
        return as_response(app.openapi())

    async def web_page(request: Request) -> Response:
        return Response(page, headers=page_headers(page), media_type="text/html; charset=utf-8")

    _add(app, "/info", info, summary="The models and the limits.", responses={**ok({"type": "object"}), **errors(401, 421)})
    plain = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "In the Prometheus text format."}}
    _add(app, "/metrics", metrics, summary="The metrics.", responses={**plain, **errors(401, 421)})
    _add(app, "/openapi.json", schema, include_in_schema=False)
    _add(app, "/", web_page, include_in_schema=False)
