"""The server process: binding, signals, exit codes."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import threading
import time

import pytest

from hftool.errors import ConfigError, DataError, HftoolError, InputMissing, OutputUnavailable, UsageError
from hftool.server.http.address import bind
from hftool.server.process import Process
from support.families import trained_run
from support.serving import started

WRITER_BODY = {"model": "writer", "prompt": "the red cat is", "max_tokens": 30, "temperature": 1, "stop": ["\x00"]}


# ---- the address


def test_bound_port_is_taken_and_released():
    with bind("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(HftoolError) as caught:
            bind("127.0.0.1", port)
        assert (caught.value.code, caught.value.kind) == (69, "port_taken") and str(port) in str(caught.value)
        assert time.monotonic() - began < 1
    with bind("localhost", port) as again:  # and is free as soon as it is closed
        assert again.getsockname()[1] == port


def test_connections_have_tcp_nodelay():
    """With Nagle's algorithm the second packet of an answer waits for the client's delayed acknowledgement, 40 ms."""
    taken = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            found = transport.get_extra_info("socket")
            taken.append(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def scene():
        server = await asyncio.get_running_loop().create_server(Protocol, sock=held)
        reader, writer = await asyncio.open_connection(*held.getsockname())
        await reader.read()
        writer.close()
        server.close()

    with bind("127.0.0.1", 0) as held:
        asyncio.run(scene())
    assert taken == [1]


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "300.1.1.1", "a b", "x" * 300, "\ud83d"])
def test_foreign_host_cannot_be_bound(host):
    began = time.monotonic()
    with pytest.raises(OutputUnavailable) as caught:
        bind(host, 0)
    assert caught.value.code == 73 and time.monotonic() - began < 1.5


def test_slow_name_resolution_is_abandoned(monkeypatch):
    def slow(*words, flags=0, **more):
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    began = time.monotonic()
    with pytest.raises(OutputUnavailable):
        bind("slow.example", 0)
    assert time.monotonic() - began < 2


def test_port_that_needs_root(monkeypatch):
    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(OutputUnavailable) as caught:
        bind("127.0.0.1", 80)
    assert "only be used by root" in str(caught.value)


# ---- the process


@pytest.mark.parametrize(
    ("kind", "code"), [(HftoolError, 1), (DataError, 65), (ConfigError, 78), (UsageError, 2), (InputMissing, 66)]
)
def test_exit_code_of_a_fatal_error(kind, code):
    process = object.__new__(Process)
    process.fatal, process.fatal_class, process.signal, process._ending = "", HftoolError, 0, asyncio.Event()
    process._give_up("the worker of model 'bad' failed", kind)
    with pytest.raises(kind, match="model 'bad'") as caught:
        process._end(clean=False, stopped=True)
    assert caught.value.code == code


@pytest.fixture(scope="module")
def writer():
    return f"writer={trained_run('gpt2', 'generate')[0].run.path}"


@pytest.fixture(scope="module")
def film(tiny_run):
    return f"film={tiny_run}"


AUDIT = """
import sys
WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen", "os.fork")
def hook(event, args):
    if event in WATCHED:
        print("AUDIT", event, *args[:2], file=sys.stderr, flush=True)
sys.addaudithook(hook)
from hftool.cli.app import entry
entry()
"""


def test_idle_server_ends_at_once_without_outgoing_connections(film, tmp_path):
    """In its own interpreter, whose sockets are audited from the first line on."""
    with started([film], folder=tmp_path, launch=("-c", AUDIT)) as server:
        assert server.ask("/predict", {"inputs": "a warm funny film"})[0] == 200
        assert server.ask("/predict", {"inputs": ["a", "b"]})[1]["x-hftool-model"] == "film"
        with server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"):  # one that stays connected
            code, seconds = server.stop()
        assert (code, seconds < 5) == (0, True)
        assert not list_children(server.process.pid)
    events = [line["event"] for line in server.lines() if "event" in line]
    assert events == ["ready", "stopping"]
    audited = [line for line in server.lines() if isinstance(line, str)]
    assert audited and [line for line in audited if not line.startswith("AUDIT socket.getaddrinfo 127.0.0.1 ")] == []


def list_children(pid):
    return subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False).stdout.split()


def test_drain_finishes_requests_in_flight_and_refuses_new_ones(film, writer, tmp_path):
    """A long text is being written; after SIGTERM it is finished, and all else is 503."""
    replies = []
    with started([film, writer], "--timeout", 60, folder=tmp_path) as server:
        body = {**WRITER_BODY, "prompt": ["the red cat is"] * 200, "n": 8}

        def write():
            replies.append(server.ask("/v1/completions", body, timeout=60)[0])

        thread = threading.Thread(target=write)
        thread.start()
        until = time.monotonic() + 20
        while "hftool_queue_size 0.0" in server.ask("/metrics")[2] and time.monotonic() < until:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        seen = set()
        with contextlib.suppress(OSError):
            while server.process.poll() is None:
                seen.add(("ready", server.ask("/readyz")[0]))
                seen.add(("live", server.ask("/livez")[0]))
                seen.add(("new", server.ask("/predict", {"inputs": "a"})[0]))
        thread.join(60)
        assert server.process.wait(30) == 0
    assert replies == [200]
    assert {("ready", 503), ("live", 200), ("new", 503)} <= seen


def test_requests_over_the_grace_period_are_aborted_with_a_message(writer, tmp_path):
    with started([writer], "--grace", 0.2, "--timeout", 60, folder=tmp_path) as server:
        body = {**WRITER_BODY, "prompt": ["the red cat is"] * 256, "n": 8, "max_tokens": 50}
        codes = []
        threads = [
            threading.Thread(target=lambda: codes.append(server.ask("/v1/completions", body, timeout=60)[0])) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        while "hftool_queue_size 512.0" not in server.ask("/metrics")[2] and time.monotonic() < until:
            time.sleep(0.01)
        code, seconds = server.stop()
        for thread in threads:
            thread.join(30)
    assert code == 143 and seconds < 5
    assert 503 in codes and set(codes) <= {200, 503}  # the first may be done on a fast machine
    assert [line for line in server.lines() if isinstance(line, str)][-1].startswith("hftool: stopped after 0.2 s")


def test_second_signal_ends_the_server_at_once(writer, tmp_path):
    with started([writer], "--timeout", 60, folder=tmp_path) as server:
        body = {**WRITER_BODY, "prompt": ["the red cat is"] * 256, "n": 8, "max_tokens": 50}
        result = server.raw(post("/v1/completions", body))
        until = time.monotonic() + 20
        while "hftool_queue_size 0.0" in server.ask("/metrics")[2] and time.monotonic() < until:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert server.process.poll() is None
        code, seconds = server.stop(signal.SIGINT)
        result.close()
    assert (code, seconds < 1) == (130, True)


def post(path, body):
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text
