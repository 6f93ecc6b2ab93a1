"""Middleware for access control: API keys, and allowed names in the Host header."""

import hashlib
import hmac
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hftool.errors import DataError, InputMissing
from hftool.server.http.address import is_loopback
from hftool.server.protocols.http_errors import HttpError

PUBLIC = ("/livez", "/readyz", "/health", "/")  # the page at / is static; the requests that it sends need the key
MIN_KEY_CHARS = 8
MAX_FILE_BYTES = 2**20


def read_keys(path: str | Path) -> tuple[str, ...]:
    """Read the keys of a file, one a line; lines that begin with # are comments. Errors never contain a key.

    Raises:
        InputMissing: The file cannot be read.
        DataError: It has no key, or one that is too short or cannot be sent in a header.
    """
    try:
        with Path(path).open("rb") as handle:
            content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputMissing(f"the key file '{path}' cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"the key file '{path}' has over {MAX_FILE_BYTES} bytes", "Give a file with one key a line")
    keys = [line.strip() for line in content.splitlines() if line.strip() and not line.strip().startswith(b"#")]
    for number, key in enumerate(keys, start=1):
        if not all(0x21 <= byte <= 0x7E for byte in key):
            what = f"key {number} in '{path}' has spaces or characters that a header cannot contain"
            raise DataError(what, "Use ASCII without spaces")
        if len(key) < MIN_KEY_CHARS:
            what = f"key {number} in '{path}' has under {MIN_KEY_CHARS} characters"
            raise DataError(what, "Create one: openssl rand -hex 32")
    if not keys:
        raise DataError(f"'{path}' has no key", "Create one: openssl rand -hex 32")
    return tuple(key.decode("ascii") for key in keys)


def is_open_to_others(path: str | Path) -> bool:
    """Whether other users of this machine may read the file."""
    return os.name != "nt" and bool(Path(path).stat().st_mode & stat.S_IROTH)


class KeyGuard:
    """Answers 401 to requests without a valid key, except GET and HEAD of the public paths.

    It checks the path that the routes see against a list of public paths, so that unknown paths are protected. Without keys,
    every request passes.
    """

    def __init__(self, app: ASGIApp, *, keys: Sequence[str]) -> None:
        self.app = app
        self.digests = [
            hashlib.sha256(key.encode()).digest() for key in keys
        ]  # digests have one length: comparing them reveals nothing by its time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the key. Raises HttpError 401."""
        is_public = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in PUBLIC
        if self.digests and not is_public and not self._has_key(Headers(scope=scope).getlist("authorization")):
            raise HttpError(401, "this request needs a key: Authorization: Bearer KEY", headers={"www-authenticate": "Bearer"})
        await self.app(scope, receive, send)

    def _has_key(self, given: Sequence[str]) -> bool:
        """Two headers are refused: proxies disagree on which one is valid."""
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
        found = [hmac.compare_digest(digest, known) for known in self.digests]  # all of them, so that the time reveals nothing
        return scheme.lower() == "bearer" and any(found)


class HostGuard:
    """Answers 421 to requests whose Host header has another name than the allowed ones.

    This prevents DNS rebinding: a foreign web page whose host name resolves to 127.0.0.1 could otherwise send requests to this
    server. `names`: the allowed ones besides loopback; empty: any.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str]) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the Host header. Raises HttpError 421."""
        if self.names:
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not self._is_allowed(hosts[0]):
                raise HttpError(421, "this server answers only under the names of its own machine (--allow-host adds one)")
        await self.app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        """Whether the name in a Host header, without its port and the brackets of IPv6, is allowed."""
        name = (host[1:].partition("]") if host.startswith("[") else host.partition(":"))[0].lower()
        return name in self.names or is_loopback(name)
