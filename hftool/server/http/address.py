"""The listening address. Imports the standard library only, so that a bad address is reported before the slow imports."""

import contextlib
import errno
import ipaddress
import os
import socket
import threading
from typing import Any

from hftool.errors import HftoolError, OutputUnavailable, PortTaken, UsageError

LOCAL_NAMES = ("localhost", "ip6-localhost", "localhost.localdomain")
LOOK_UP = 0.8  # s to resolve a host name
BACKLOG = 2048  # connections that wait to be accepted


def is_loopback(host: str) -> bool:
    """Whether a name or an address is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOCAL_NAMES


def check_open(host: str, *, has_keys: bool) -> None:
    """Raise UsageError if a server without keys could be reached from other machines."""
    if not has_keys and not is_loopback(host):
        detail = f"on {host} other machines can reach the server: a key is needed"
        raise UsageError(detail, "Give --api-key-file FILE, one key a line, or --host 127.0.0.1")


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen.

    Raises:
        PortTaken: Another process has the port.
        OutputUnavailable: The port needs root, or the host is no address of this machine.
    """
    family, address = _address(host, port)
    # the protocol tells asyncio that it is TCP: it then sets TCP_NODELAY, without which a response may wait 40 ms
    # (nodelay in benchmarks/serve_tricks.py)
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # on Windows two processes could then share the port
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
    """The first address of a host. Names are resolved in a thread, since a silent name server blocks for a minute."""
    found: list[Any] = []

    def _look_up(flags: int = 0) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags | socket.AI_PASSIVE))

    _look_up(socket.AI_NUMERICHOST)
    if not found:
        thread = threading.Thread(target=_look_up, daemon=True)
        thread.start()
        thread.join(LOOK_UP)
    if not found:
        raise OutputUnavailable(f"there is no host '{host}'", "127.0.0.1 is this machine alone, 0.0.0.0 all its addresses")
    family, _, _, _, address = found[0]
    return family, address
