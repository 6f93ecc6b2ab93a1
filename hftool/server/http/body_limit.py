"""The limits of a request body: its size, and the time in which it must arrive."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hftool.server.protocols.http_errors import HttpError
from hftool.server.protocols.requests import check_media

WITH_BODY = ("POST",)  # the only method with a body here


class BodyLimit:
    """Middleware that reads the whole body first: JSON only, at most `limit` bytes, within `slow` seconds."""

    def __init__(self, app: ASGIApp, *, limit: int, slow: float) -> None:
        self.app = app
        self.limit = limit
        self.slow = slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body and pass the request on. Raises HttpError 408, 413 or 415."""
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self.app(scope, receive, send)
            return
        body = await self._body(Headers(scope=scope), receive)
        if body is None:
            return  # the client has disconnected
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def _replay() -> Message:
            nonlocal whole
            first, whole = whole, None
            return first or await receive()

        await self.app(scope, _replay, send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body, or None if the client disconnects."""
        declared = headers.get("content-length", "")
        too_large = HttpError(413, f"the body is over {self.limit} bytes")
        if declared.isdecimal() and int(declared[:20]) > self.limit:
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
            raise HttpError(408, f"the body was not complete within {self.slow:g} s") from None


def is_unread(headers: Headers, received: bool) -> bool:
    """Whether a request body may not have been read. The connection must then close with the response: the server would
    otherwise read and discard as much as the client sends."""
    return not received and (headers.get("content-length", "0") != "0" or "transfer-encoding" in headers)
