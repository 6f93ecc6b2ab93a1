"""Where a server listens. Needs the standard library alone, so that an address that cannot be had is said at once."""

import contextlib
import errno
import ipaddress
import os
import socket
import threading
from typing import Any

from hftool.errors import HftoolError, OutputUnavailable, PortTaken, UsageError

LOCAL_NAMES = ("localhost", "ip6-localhost", "localhost.localdomain")
LOOK_UP = 0.8  # s for the address of a host by its name
BACKLOG = 2048  # connections that may wait to be taken


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine as it sees itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOCAL_NAMES


def check_open(host: str, *, has_keys: bool) -> None:
    """Raise UsageError for a server without keys that others than this machine could ask."""
    if not has_keys and not is_loopback(host):
        detail = f"on {host} everybody who reaches this machine could ask: a key is needed"
        raise UsageError(detail, "Give --api-key-file FILE, one key a line, or --host 127.0.0.1")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; nobody else can have the address from here on.

    Raises PortTaken, OutputUnavailable for a port that only root may have or a host that is none of
    this machine.
    """
    family, address = _address(host, port)
    # by its protocol asyncio knows that it is TCP and sends each answer at once (TCP_NODELAY), which else waits 40 ms
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would let two processes have one port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise _no_address(error, host, port) from None
    found.setblocking(False)
    return found


def _no_address(error: OSError, host: str, port: int) -> HftoolError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"port {port} on {host} is taken", "Choose another with --port; 0 takes any that is free")
    if error.errno in (errno.EACCES, errno.EPERM):
        return OutputUnavailable(f"port {port} may only be used by root", "Choose one above 1023 with --port")
    hint = "127.0.0.1 is this machine alone, 0.0.0.0 all its addresses"
    return OutputUnavailable(f"'{host}' is no address of this machine", hint)


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The first address of a host. A name is looked up in a thread: a name server that does not answer takes a minute."""
    found: list[Any] = []

    def look_up(flags: int = 0) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags | socket.AI_PASSIVE))

    look_up(socket.AI_NUMERICHOST)
    if not found:
        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(LOOK_UP)
    if not found:
        raise OutputUnavailable(f"there is no host '{host}'", "127.0.0.1 is this machine alone, 0.0.0.0 all its addresses")
    family, _, _, _, address = found[0]
    return family, address
