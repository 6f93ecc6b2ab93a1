"""Writes to a connection, joined: uvicorn writes the headers of an answer and its body apart, and each write is a call of the
system, a packet, and a wait for Python's lock while a model computes."""

import asyncio
from typing import Any

MOST = 65_536  # bytes that are held back; a client that does not read must be seen within the turn, too


class CoalescingTransport:
    """A transport that sends what is written in one turn of the event loop at its end, at once. All else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send the bytes when this turn of the loop is over; at once where they are many or the transport is about to close."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > MOST or self._transport.is_closing():
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts:
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Close, when all that was written is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._parts, self._size = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not yet taken by the system."""
        return self._transport.get_write_buffer_size() + self._size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
