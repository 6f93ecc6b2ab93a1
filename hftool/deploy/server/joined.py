"""Writes to a connection, joined: uvicorn writes the headers of an answer and its body apart, and each write is a call of the
system, a packet, and a wait for Python's lock while a model computes."""

import asyncio
from typing import Any


class Joined:
    """A transport that sends what is written in one turn of the event loop at its end, at once. All else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send the bytes when this turn of the loop is over."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close, when all that was written is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._parts = []
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not yet taken by the system."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._parts))

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
