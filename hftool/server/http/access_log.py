"""What is outermost: an id for each request, one log line, its metrics, and an answer whatever happens further in."""

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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hftool.server.http.slow_clients import is_unread
from hftool.server.metrics import Stats
from hftool.server.protocols.requests import KINDS, Fault
from hftool.server.protocols.served_model import RequestRecord

LOG = logging.getLogger("hftool.serve")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
GONE = 499  # of a client that did not wait: no status of HTTP, and sent to nobody


class AccessLogMiddleware:
    """Answers every request, also where what is further in raises. The log has no text, no key and no header but the id, and
    that only where it can break no line. routes: the paths that are known; all others have one name in the metrics, which would
    else grow with what clients ask."""

    def __init__(self, app: ASGIApp, *, stats: Stats, routes: Container[str]) -> None:
        self.app = app
        self.stats = stats
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and write down how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = RequestContext(scope, receive, send)
        if scope["path"] in self.routes:
            visit.note.route = scope["path"]
        try:
            await self.app(scope, visit.receive, visit.send)
        except Fault as fault:  # of the guards; those of the routes are answered by the app
            await fault.response(scope)(scope, visit.receive, visit.send)
        except Exception as error:
            visit.failed = _place(error)
            if not visit.status:
                await Fault(500, "the server failed on this request").response(scope)(scope, visit.receive, visit.send)
            elif not visit.ended:  # the rest of a stream will never come, which only the end of the connection can say
                raise ConnectionAbortedError from None
        finally:
            _write_down(self.stats, visit.note, visit.status or GONE, time.perf_counter() - visit.began, visit.failed)


def write_refusal(stats: Stats, status: int) -> str:
    """Write down that something was refused that no request could be read from -> the id under which it is in the log."""
    note = RequestRecord(uuid.uuid4().hex)
    _write_down(stats, note, status, 0.0)
    return note.request_id


def _write_down(stats: Stats, note: RequestRecord, status: int, seconds: float, failed: str = "") -> None:
    stats.add("hftool_requests_total", route=note.route, code=status, model=note.model, version=note.version)
    stats.observe("hftool_request_duration_seconds", seconds, route=note.route)
    if status in KINDS and status not in (429, 500, 503, 504):  # the batcher counts what it refuses
        stats.add("hftool_rejected_total", reason=KINDS[status][0])
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": note.request_id,
        "route": note.route,
        "model": note.model,
        "status": status,
        "ms": round(1000 * seconds, 1),
        "rows": note.rows,
    }
    if failed:
        line["failed"] = failed
    if LOG.isEnabledFor(logging.INFO):
        LOG.log(logging.ERROR if failed else logging.INFO, json.dumps(line))


class RequestContext:
    """One request on its way through: its note, what was sent of its answer, and whether its body has come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.note = RequestRecord(given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope["hftool"] = self.note
        self.began = time.perf_counter()
        self.status = 0
        self.ended = False
        self.failed = ""
        self._received = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """A part of the request."""
        message = await self._receive()
        self._received = self._received or not message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._more_headers()]
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)

    def _more_headers(self) -> list[tuple[bytes, bytes]]:
        note = self.note
        more = [(b"x-request-id", note.request_id.encode("ascii"))]
        if note.model:
            more += [(b"x-hftool-model", note.model.encode("ascii")), (b"x-hftool-version", note.version.encode("ascii"))]
        if is_unread(self.headers, self._received):
            more.append((b"connection", b"close"))
        return more


def _place(error: Exception) -> str:
    """What happened and where; the words of an exception may be those of a text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
