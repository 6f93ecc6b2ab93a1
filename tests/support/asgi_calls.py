"""Requests to the ASGI application without a network, and served models with fake batchers."""

import asyncio
import json
from types import SimpleNamespace

from hftool.server.http.app import Service, make_app
from hftool.server.limits import Limits
from hftool.server.prometheus import Stats
from hftool.server.protocols.served_model import ServedModel


class FakeBatcher:
    """Answers with what `make` makes of a row, and remembers what it was asked. raises: what it raises instead."""

    def __init__(self, make=lambda row: {}, raises=None, tokens=()):
        self.make, self.raises, self.tokens = make, raises, tokens
        self.ready, self.submitted, self.cancelled = True, [], False
        self.gate = None  # an asyncio.Event that holds the answers back

    async def submit(self, rows, *, options, timeout, on_token=None, on_tokenized=None):
        self.submitted.append((list(rows), dict(options), timeout))
        if self.raises:
            raise self.raises
        for i, _ in enumerate(rows):
            if on_tokenized:
                on_tokenized(i, 3)
            for token in self.tokens if on_token else ():
                on_token(i, token)
                await asyncio.sleep(0)
        try:
            if self.gate:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return [self.make(row) for row in rows]


def served(head, batcher, name="m"):
    return ServedModel(
        name=name, head=head, batcher=batcher, version="v1", commit="c" * 40, sha256="s" * 64, facts={"head": "x"}
    )


def service(*models, keys=(), hosts=(), **limits):
    return Service(models={m.name: m for m in models}, limits=Limits(**limits), stats=Stats(), keys=keys, hosts=hosts)


def scope_of(method, path, headers):
    known = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9),
        "headers": known,
    }


async def call(app, path, content=None, *, method=None, headers=None, leave_after=None):
    """-> status, headers, body (parsed if it is JSON), parts. content: sent as JSON unless bytes. leave_after: the client goes
    after so many parts of the answer; 0: before any."""
    body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    method = method or ("GET" if content is None else "POST")
    known = [
        ("host", "localhost"),
        *([("content-type", "application/json"), ("content-length", str(len(body)))] if body else []),
    ]
    known = [pair for pair in known if pair[0] not in {k.lower() for k, _ in headers or []}] + list(headers or [])
    sent, parts, start = False, [], SimpleNamespace(status=0, headers=[])
    left = asyncio.Event()
    if leave_after == 0:
        asyncio.get_running_loop().call_later(0.05, left.set)

    async def receive():
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            start.status, start.headers = message["status"], message["headers"]
        else:
            parts.append(message.get("body", b""))
            if leave_after and len(parts) >= leave_after:
                left.set()
            await asyncio.sleep(0)

    await app(scope_of(method, path, known), receive, send)
    text = b"".join(parts)
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = text.decode("utf-8", errors="replace")
    return start.status, {k.decode(): v.decode() for k, v in start.headers}, parsed, parts


def ask(app_service, path, content=None, **more):
    """One request to the application of this service."""
    return asyncio.run(call(make_app(app_service), path, content, **more))
