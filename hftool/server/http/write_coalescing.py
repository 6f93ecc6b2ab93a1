"""Coalesces writes to a connection.

uvicorn writes the headers and the body of a response separately, and each write costs a system call, a packet, and a wait for
the GIL while a model computes. benchmarks/serve_tricks.py measures what it is worth.
"""

import asyncio
from typing import Any

MAX_BUFFERED = 65_536  # bytes; beyond it backpressure must act within the same iteration of the event loop


class CoalescingTransport:
    """A transport that joins the writes of one iteration of the event loop. Everything else is delegated."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send the bytes at the end of this iteration; at once if the buffer is full or the transport is closing."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_BUFFERED or self._transport.is_closing():
            self.flush()

    def flush(self) -> None:
        """Send the buffered bytes."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts:
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Send the buffered bytes and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once and discard the buffered bytes."""
        self._parts, self._size = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes written and not yet accepted by the operating system."""
        return self._transport.get_write_buffer_size() + self._size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
