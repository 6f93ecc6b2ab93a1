"""Slow and greedy clients against uvicorn on loopback, with deadlines of a fraction of a second."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from hftool.server.http.access_log import AccessLogMiddleware
from hftool.server.http.body_limit import BodyLimit
from hftool.server.http.slow_clients import guarded, loop_settings
from hftool.server.prometheus import Stats

SLOW, LIMIT = 0.4, 100_000
SIZES = {"/big": 20_000_000, "/small": 30_000}
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def _echo(scope, receive, send):
    """Says how long the body was; /big and /small answer with more than a client takes that does not read."""
    message = await receive()
    size = len(message.get("body", b""))
    body = b"x" * SIZES[scope["path"]] if scope["path"] in SIZES else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    for start in range(0, len(body), 1_000_000):
        part = body[start : start + 1_000_000]
        await send({"type": "http.response.body", "body": part, "more_body": start + 1_000_000 < len(body)})


REFUSED = []  # statuses


def refused(status):
    REFUSED.append(status)
    return "an-id"


@contextlib.contextmanager
def running(buffer=None):
    """The server and its port. buffer: bytes that the system holds for a client that does not read."""
    app = AccessLogMiddleware(BodyLimit(_echo, limit=LIMIT, slow=SLOW), stats=Stats(), routes=())
    listening = socket.create_server(("127.0.0.1", 0))
    if buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    known = {"lifespan": "off", "log_config": None, "timeout_keep_alive": SLOW, **loop_settings()}
    server = uvicorn.Server(uvicorn.Config(app, http=guarded(SLOW, refused), **known))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    yield server, listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def port():
    with running() as (_, number):
        yield number


@contextlib.contextmanager
def connected(port, *, buffer=None):
    result = socket.socket()
    if buffer:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    result.settimeout(10)
    result.connect(("127.0.0.1", port))
    with result:
        yield result


def rest(result):
    """What comes until the server closes, and after how many seconds that was."""
    began, parts = time.monotonic(), []
    with contextlib.suppress(ConnectionError):
        while part := result.recv(1_000_000):
            parts.append(part)
    return b"".join(parts), time.monotonic() - began


def one(result, body):
    """The answer to one request, whose body is this."""
    reply = b""
    while not reply.endswith(b"\r\n\r\n" + body) and (part := result.recv(1000)):
        reply += part
    return reply


def status(reply):
    return int(reply.split(b" ")[1])


def test_request_in_time_is_answered_and_the_connection_kept(port):
    with connected(port) as result:
        for body in (b'{"a": 1}', b"{}"):
            result.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert b"200 OK" in one(result, b"%d" % len(body))


def test_half_closed_connection_is_answered(port):
    for _ in range(50):
        with connected(port) as result:
            result.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
            result.shutdown(socket.SHUT_WR)
            assert status(rest(result)[0]) == 200


def test_silent_connection_is_closed_with_408(port):
    REFUSED.clear()
    with connected(port) as result:
        reply, seconds = rest(result)
    assert status(reply) == 408 and seconds < 3
    assert REFUSED == [408] and b"x-request-id: an-id\r\n" in reply


def test_client_that_leaves_the_last_answer_unread_is_disconnected():
    """Less than uvicorn waits to be read before it continues writing: it would close, and wait for ever."""
    get = b"GET /small HTTP/1.1\r\nHost: localhost\r\n"
    with running(buffer=4096) as (server, port), contextlib.ExitStack() as stack:
        answers, seconds = {}, {}
        began = time.monotonic()
        for count in (1, 2, 3, 4):
            result = stack.enter_context(connected(port, buffer=2048))
            result.sendall((get + b"\r\n") * (count - 1) + get + b"Connection: close\r\n\r\n")
            answers[result.getsockname()[1]] = count
        while len(server.server_state.connections) < len(answers) and time.monotonic() - began < SLOW / 2:
            time.sleep(0.01)
        while len(seconds) < len(answers) and time.monotonic() - began < 10:
            left = {one.client[1] for one in list(server.server_state.connections)}
            seconds = {answers[port]: time.monotonic() - began for port in answers if port not in left} | seconds
            time.sleep(0.02)
    assert seconds.keys() == {1, 2, 3, 4}
    assert all(SLOW / 2 < spent < 8 for spent in seconds.values()), seconds


def drip(result, data, pause=0.1, most=40):
    """Send byte by byte until the server hangs up -> seconds."""
    began = time.monotonic()
    with contextlib.suppress(OSError):  # hung up, or the test is over
        for byte in data[:most]:
            result.sendall(bytes([byte]))
            time.sleep(pause)
    return time.monotonic() - began


def test_slow_headers_are_408(port):
    with connected(port) as result:
        threading.Thread(target=drip, args=(result, POST), daemon=True).start()
        reply, seconds = rest(result)
    assert status(reply) == 408 and SLOW / 2 < seconds < 3


def test_slow_headers_of_a_second_request_are_408(port):
    with connected(port) as result:
        result.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in one(result, b"0")
        threading.Thread(target=drip, args=(result, POST), daemon=True).start()
        reply, seconds = rest(result)
    assert status(reply) == 408 and seconds < 3


@pytest.mark.parametrize("headers", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"])
def test_slow_body_is_408(port, headers):
    with connected(port) as result:
        result.sendall(POST + headers)
        threading.Thread(target=drip, args=(result, b"a" * 100), daemon=True).start()
        reply, seconds = rest(result)
    assert status(reply) == 408 and SLOW / 2 < seconds < 3 and b'"too_slow"' in reply


def test_idle_connection_is_closed(port):
    with connected(port) as result:
        result.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in one(result, b"0")
        reply, seconds = rest(result)
    assert reply == b"" and seconds < 4


def test_client_that_does_not_read_is_disconnected(port):
    with connected(port, buffer=4096) as result:
        result.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4 * SLOW)
        reply, _ = rest(result)
    assert 0 < len(reply) < 20_000_000


def test_slow_reader_gets_the_whole_response(port):
    with connected(port) as result:
        result.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        size = 0
        while part := result.recv(1_000_000):
            size += len(part)
            time.sleep(0.02)
    assert size > 20_000_000


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 100001\r\n\r\n" + b"a" * 1000,
        POST + b"Content-Length: 99999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b"a" * 0xFFFFF + b"\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"4000\r\n" + b"a" * 0x4000 + b"\r\n" for _ in range(20)),
    ],
    ids=["said", "said, huge", "one chunk", "chunks"],
)
def test_body_over_the_limit_is_413_and_closes_the_connection(port, request_):
    with connected(port) as result:
        with contextlib.suppress(ConnectionError):
            result.sendall(request_)
        reply, seconds = rest(result)
    assert status(reply) == 413 and b"connection: close" in reply and seconds < 3


def test_endless_body_is_not_read_on(port):
    """What the server took is at most the limit and a little, whatever the buffers of the kernel take after it."""
    sent = 0
    with connected(port) as result:
        result.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(2000):
                result.sendall(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")
                sent += 0x4000
    assert sent < 20_000_000


def test_body_shorter_than_its_content_length_is_408(port):
    with connected(port) as result:
        result.sendall(POST + b"Content-Length: 10\r\n\r\n{}")
        reply, seconds = rest(result)
    assert status(reply) == 408 and seconds < 3


def test_bytes_beyond_the_content_length_are_a_bad_request(port):
    with connected(port) as result:
        result.sendall(POST + b"Content-Length: 2\r\n\r\n{}garbage\r\n\r\n")
        reply, _ = rest(result)
    assert b"200 OK" in reply and b" 400 " in reply


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n", 431),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n", 400),
    ],
)
def test_malformed_request_has_a_json_error(port, data, code):
    with connected(port) as result:
        with contextlib.suppress(ConnectionError):
            result.sendall(data)
        reply, _ = rest(result)
    assert status(reply) == code and b'{"error":' in reply


def test_hundred_held_connections_do_not_delay_others(port):
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(connected(port)).sendall(b"POST / HT")
        began = time.monotonic()
        with connected(port) as result:
            result.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
            assert b"200 OK" in one(result, b"2")
        assert time.monotonic() - began < 1
