"""Outermost ASGI middleware: request id, JSON access log, request metrics, and the error responses."""

import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import Container, MutableMapping
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hftool.server.http.body_limit import is_unread
from hftool.server.prometheus import Stats
from hftool.server.protocols.http_errors import ERRORS, HttpError
from hftool.server.protocols.served_model import ClientDisconnected, RequestRecord

LOG = logging.getLogger("hftool.serve")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
CLIENT_CLOSED = 499  # nginx's status for a client that disconnected before its response; logged and never sent

OF_ROUTER = {404: "there is nothing here; see /openapi.json", 405: "this path has no such method"}


class AccessLogMiddleware:
    """Logs and counts every request, also one whose handler raises.

    The log contains no text, no key and no header except a well-formed request id. Paths that are not in `routes` share one
    name in the metrics, which would otherwise grow with the paths that clients send.
    """

    def __init__(self, app: ASGIApp, *, stats: Stats, routes: Container[str]) -> None:
        self.app = app
        self.stats = stats
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request and record its outcome."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context = RequestContext(scope, receive, send)
        if scope["path"] in self.routes:
            context.record.route = scope["path"]
        scope["app"] = self  # the router of Starlette then raises its 404 and 405
        try:
            await self.app(scope, context.receive, context.send)
        except ClientDisconnected:
            pass
        except Exception as error:
            context.failed = "" if isinstance(error, HttpError | HTTPException) else _location(error)
            if not context.status:
                await _as_http_error(error).response(scope)(scope, context.receive, context.send)
            elif not context.ended:  # only a closed connection can tell the client that the rest of a stream will not come
                raise ConnectionAbortedError from None
        finally:
            seconds = time.perf_counter() - context.started
            _write_record(self.stats, context.record, context.status or CLIENT_CLOSED, seconds, context.failed)


def _as_http_error(error: Exception) -> HttpError:
    """The response to an exception. The client gets no details of a bug; they are in the log."""
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, OF_ROUTER.get(error.status_code, error.detail), headers=error.headers)
    return error if isinstance(error, HttpError) else HttpError(500, "the server failed on this request")


def record_refusal(stats: Stats, status: int) -> str:
    """Log and count bytes that were refused before they formed a request. Returns the request id of the log line."""
    record = RequestRecord(uuid.uuid4().hex)
    _write_record(stats, record, status, 0.0)
    return record.request_id


def _write_record(stats: Stats, record: RequestRecord, status: int, seconds: float, failed: str = "") -> None:
    stats.add("hftool_requests_total", route=record.route, code=status, model=record.model, version=record.version)
    stats.observe("hftool_request_duration_seconds", seconds, route=record.route)
    if status in ERRORS and status not in (429, 500, 503, 504):  # those are counted by the batcher
        stats.add("hftool_rejected_total", reason=ERRORS[status][0])
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": record.request_id,
        "route": record.route,
        "model": record.model,
        "status": status,
        "ms": round(1000 * seconds, 1),
        "rows": record.rows,
    }
    if failed:
        line["failed"] = failed
    if LOG.isEnabledFor(logging.INFO):
        LOG.log(logging.ERROR if failed else logging.INFO, json.dumps(line))


class RequestContext:
    """One request: its record, what was sent of its response, and whether its body was received."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.record = RequestRecord(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope["hftool"] = self.record
        self.started = time.perf_counter()
        self.status = 0
        self.ended = False
        self.failed = ""
        self._received = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """Receive a part of the request."""
        message = await self._receive()
        self._received = self._received or not message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._more_headers()]
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)

    def _more_headers(self) -> list[tuple[bytes, bytes]]:
        record = self.record
        more = [(b"x-request-id", record.request_id.encode("ascii"))]
        if record.model:
            more += [(b"x-hftool-model", record.model.encode("ascii")), (b"x-hftool-version", record.version.encode("ascii"))]
        if is_unread(self.headers, self._received):
            more.append((b"connection", b"close"))
        return more


def _location(error: Exception) -> str:
    """The class and line of an exception; its message may quote a text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
