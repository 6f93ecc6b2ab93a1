"""What keeps slow and greedy clients from holding the server: uvicorn by itself waits for a request for ever."""

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hftool.server.http.write_coalescing import CoalescingTransport
from hftool.server.protocols.requests import KINDS, Fault, check_media

READ_SIZE = 65_536  # bytes taken from a socket at a time
HEADER_BYTES = 32_768  # of the request line and all headers
SLOWEST = 1_024  # bytes a second that a client must read of an answer
WITH_BODY = ("POST",)  # no route takes a body with another method
PHRASES = {431: "the headers are too long", 501: "this way to send a body is not known"}


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for the headers of a request, and for each part of an answer that a client does not read.

    The one class here that inherits: uvicorn takes a subclass of its protocol and nothing else.
    """

    slow = 5.0  # seconds; set by `guarded`, as is what follows
    refused: Callable[[int], str] = staticmethod(lambda status: "")
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection by which nothing comes is closed, too."""
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE  # so that a body over the limit is known soon
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]
        self._reading = self.loop.call_later(self.slow, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """The time runs from the first byte of a request, however many come one by one, to the end of its headers."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_reading()
        elif self._reading is None:
            self._reading = self.loop.call_later(self.slow, self._too_slow)

    def eof_received(self) -> None:
        """The client sends nothing more. asyncio closes next, past what is held back for it."""
        self.transport.flush()  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives its connection."""
        self._stop_reading()
        self._stop_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: uvicorn would wait for it for ever."""
        super().pause_writing()
        if self._writing is None:
            self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self.transport.is_closing():  # what is left of the last answer is watched to its end
            self._stop_writing()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """After the last answer uvicorn closes, and would wait for ever until the client has read what is left."""
        super().on_response_complete()
        self._watch_close()

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection is closed, and what its client did not take is not kept for it."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.slow, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP, or too long: uvicorn knows 400 alone."""
        error = sys.exc_info()[1]
        status = int(getattr(error, "error_status_hint", 400))
        self._refuse(status, PHRASES.get(status, "this is no HTTP request"))

    def _watch_reader(self, before: int) -> None:
        self._writing = self.loop.call_later(self.slow, self._check_reader, before)

    def _check_reader(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > before - SLOWEST * self.slow:
            self.transport.abort()
        else:
            self._watch_reader(left)

    def _too_slow(self) -> None:
        self._reading = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._refuse(408, f"the headers were not whole within {self.slow:g} s")

    def _refuse(self, status: int, text: str) -> None:
        """An answer without a request that could be read; the connection ends with it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # its request cannot be finished: nobody waits for an answer any more
            self.cycle.message_event.set()
        elif self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            word = KINDS.get(status, KINDS[400])[0]
            body = f'{{"error":"{text}","error_type":"{word}"}}'.encode("ascii", errors="replace")
            headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
            headers.append(("x-request-id", self.refused(status)))
            reason = HTTPStatus(status).phrase.encode("ascii")
            start = h11.Response(status_code=status, headers=headers, reason=reason)
            parts = (start, h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()
        self._watch_close()

    def _watch_close(self) -> None:
        if self.transport.is_closing() and self._writing is None:
            self._watch_reader(self.transport.get_write_buffer_size())

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


def guarded(slow: float, refused: Callable[[int], str]) -> type[GuardedProtocol]:
    """The protocol class for uvicorn. slow: seconds for the headers, and for a part of an answer to be read. refused: told of
    the status of each refusal of what no request could be read from; gives its id."""
    return type("Guarded", (GuardedProtocol,), {"slow": slow, "refused": staticmethod(refused)})


class BodyGuard:
    """Reads the whole body before anything else sees the request: JSON only, at most `limit` bytes, within `slow` seconds."""

    def __init__(self, app: ASGIApp, *, limit: int, slow: float) -> None:
        self.app = app
        self.limit = limit
        self.slow = slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or say why its body is not taken."""
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self.app(scope, receive, send)
            return
        body = await self._body(Headers(scope=scope), receive)
        if body is None:
            return  # the client has gone
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            first, whole = whole, None
            return first or await receive()

        await self.app(scope, replay, send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """Raises Fault: 413, 408, 415."""
        said = headers.get("content-length", "")
        too_large = Fault(413, f"the body is over {self.limit} bytes")
        if said.isdecimal() and int(said[:20]) > self.limit:
            raise too_large
        check_media(headers)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.slow):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Fault(408, f"the body was not whole within {self.slow:g} s") from None


def is_unread(headers: Headers, received: bool) -> bool:
    """Whether a request's body may still be on its way: then the connection must end with the answer, or the server would read
    and throw away as much as the client likes to send."""
    return not received and (headers.get("content-length", "0") != "0" or "transfer-encoding" in headers)


def loop_settings() -> dict[str, Any]:
    """What uvicorn is told of HTTP: one loop and one parser, whatever else is installed, and the limits of h11."""
    return {"loop": "asyncio", "ws": "none", "h11_max_incomplete_event_size": HEADER_BYTES}
