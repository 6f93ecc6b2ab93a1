"""Who may ask: keys from a file, and the names under which a server that listens to its own machine alone is called."""

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
from hftool.server.protocols.requests import Fault

PUBLIC = ("/livez", "/readyz", "/health", "/")  # the page at / is a text like any other; what it asks needs the key
SHORTEST = 8  # characters of a key


def read_keys(path: str | Path) -> tuple[str, ...]:
    """The keys of a file, one a line; lines that begin with # are comments.

    Raises InputMissing, DataError: no key, one that is too short or that no header can carry. Keys are never part of an error.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InputMissing(f"the key file '{path}' cannot be read: {error.strerror}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.strip().startswith(b"#")]
    for number, key in enumerate(keys, start=1):
        if not all(0x21 <= byte <= 0x7E for byte in key):
            raise DataError(f"key {number} in '{path}' has blanks or letters that no header can carry", "Take ASCII alone")
        if len(key) < SHORTEST:
            raise DataError(f"key {number} in '{path}' has under {SHORTEST} characters", "Make one: openssl rand -hex 32")
    if not keys:
        raise DataError(f"'{path}' holds no key", "Write one into it: openssl rand -hex 32")
    return tuple(key.decode("ascii") for key in keys)


def is_open_to_others(path: str | Path) -> bool:
    """Whether other users of this machine may read the file."""
    return os.name != "nt" and bool(Path(path).stat().st_mode & stat.S_IROTH)


class KeyGuard:
    """Answers 401 to whatever lacks a key, but for GET and HEAD of the public paths.

    It goes by the path that the routes see, and by a list of what is open: what is not known is closed. Where there are no keys
    it lets everything pass.
    """

    def __init__(self, app: ASGIApp, *, keys: Sequence[str]) -> None:
        self.app = app
        self.digests = [hashlib.sha256(key.encode()).digest() for key in keys]  # of one length, so that none shows by time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or not. Raises Fault 401."""
        is_public = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in PUBLIC
        if self.digests and not is_public and not self._has_key(Headers(scope=scope).getlist("authorization")):
            raise Fault(401, "this needs a key: Authorization: Bearer KEY", headers={"www-authenticate": "Bearer"})
        await self.app(scope, receive, send)

    def _has_key(self, given: Sequence[str]) -> bool:
        """Two headers are none: proxies do not agree which of them counts."""
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
        found = [hmac.compare_digest(digest, known) for known in self.digests]  # all of them, so that time tells nothing
        return scheme.lower() == "bearer" and any(found)


class HostGuard:
    """Answers 421 to a request under a foreign name.

    A page of a stranger may let its own name point to 127.0.0.1 and then ask this server as if it were its own (DNS
    rebinding): only the Host header tells. names: what is allowed; empty: any.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str]) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or not. Raises Fault 421."""
        if self.names:
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not self._known(hosts[0]):
                raise Fault(421, "this server answers under the names of its own machine only (--allow-host adds one)")
        await self.app(scope, receive, send)

    def _known(self, host: str) -> bool:
        name = host_name(host)
        return name in self.names or is_loopback(name)


def host_name(host: str) -> str:
    """The name in a Host header, without its port and the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
