"""Deadlines for slow clients, which uvicorn does not have."""

import asyncio
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hftool.server.protocols.http_errors import ERRORS

READ_SIZE = 65_536  # bytes read from a socket at a time
HEADER_BYTES = 32_768  # of the request line and all headers
MIN_READ_RATE = 1_024  # bytes a second that a client must read of a response
PHRASES = {431: "the headers are too long", 501: "this transfer encoding is not supported"}


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for the headers of a request, and for a client that does not read its response.

    It overrides private parts of uvicorn: see tests/server/test_uvicorn_internals.py.
    """

    slow = 5.0  # seconds; set by `guarded`
    on_refused: Callable[[int], str] = staticmethod(lambda status: "")
    _read_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request, also for a connection that sends nothing."""
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE  # small, so that a body over the limit is noticed early
        super().connection_made(transport)
        self._read_timer = self.loop.call_later(self.slow, self._on_read_timeout)

    def data_received(self, data: bytes) -> None:
        """The deadline runs from the first byte of a request to the end of its headers."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._cancel_read_timer()
        elif self._read_timer is None:
            self._read_timer = self.loop.call_later(self.slow, self._on_read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._cancel_read_timer()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start a deadline for the client to read, which uvicorn does not have."""
        super().pause_writing()
        if self._write_timer is None:
            self._start_write_timer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Cancel that deadline."""
        if not self.transport.is_closing():  # the rest of the last response keeps its deadline
            self._cancel_write_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """After the last response uvicorn closes, and would wait without a limit for the client to read the rest."""
        super().on_response_complete()
        self._limit_close()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; bytes that its client does not read are discarded after a while."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.slow, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with the status that h11 suggests; uvicorn always answers 400."""
        error = sys.exc_info()[1]
        status = int(getattr(error, "error_status_hint", 400))
        self._refuse(status, PHRASES.get(status, "this is not an HTTP request"))

    def _start_write_timer(self, before: int) -> None:
        self._write_timer = self.loop.call_later(self.slow, self._on_write_timeout, before)

    def _on_write_timeout(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > before - MIN_READ_RATE * self.slow:
            self.transport.abort()
        else:
            self._start_write_timer(left)

    def _on_read_timeout(self) -> None:
        self._read_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._refuse(408, f"the headers were not complete within {self.slow:g} s")

    def _refuse(self, status: int, text: str) -> None:
        """Respond to bytes that form no request, and close the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the request is incomplete and cannot be answered
            self.cycle.message_event.set()
        elif self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            error_type = ERRORS.get(status, ERRORS[400])[0]
            body = f'{{"error":"{text}","error_type":"{error_type}"}}'.encode("ascii", errors="replace")
            headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
            headers.append(("x-request-id", self.on_refused(status)))
            reason = HTTPStatus(status).phrase.encode("ascii")
            start = h11.Response(status_code=status, headers=headers, reason=reason)
            parts = (start, h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()
        self._limit_close()

    def _limit_close(self) -> None:
        if self.transport.is_closing() and self._write_timer is None:
            self._start_write_timer(self.transport.get_write_buffer_size())

    def _cancel_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def guarded(slow: float, on_refused: Callable[[int], str]) -> type[GuardedProtocol]:
    """Create the protocol class for uvicorn, with these seconds for the headers, and for a client to read its response.

    `on_refused` is called with the status for bytes that form no request; it returns a request id.
    """
    return type("Guarded", (GuardedProtocol,), {"slow": slow, "on_refused": staticmethod(on_refused)})


def loop_settings() -> dict[str, Any]:
    """HTTP settings of uvicorn: a fixed event loop and parser, whatever else is installed, and the size limit of h11."""
    return {"loop": "asyncio", "ws": "none", "h11_max_incomplete_event_size": HEADER_BYTES}
