"""Shared code of the server benchmarks: servers as processes, a client on plain sockets, and statistics.

The client keeps one connection open per caller and sends the next request as soon as it has an answer (a closed loop). It
runs in one process beside the server and parses HTTP itself, so that it takes little CPU time.
"""

import asyncio
import contextlib
import http.client
import json
import math
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"
LIBRARIES = ("torch", "transformers", "onnxruntime", "fastapi", "starlette", "uvicorn", "litserve", "hftool-recipes")
CLOSED = (ConnectionError, asyncio.IncompleteReadError, OSError)
TEXTS = Path(__file__).parent.parent / "hftool" / "assets" / "data" / "sst2-mini" / "train.tsv"


# ---- servers


@dataclass(frozen=True)
class Server:
    """A server in a separate process group."""

    name: str
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def tree(self) -> list[psutil.Process]:
        """The process and its descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """CPU seconds of the process tree so far."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory(self) -> int:
        """Resident memory of the process tree in bytes."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def alive(self) -> bool:
        """Whether the main process is running."""
        return self.process.poll() is None


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def status_of(port: int, path: str, seconds: float = 2.0) -> int:
    """The status of a GET request; 0 without an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], *, ready: str, within: float = 180.0, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A running server. `{port}` in the command is replaced by a free port; ready: the path that returns 200 once it is ready.

    On exit it gets SIGTERM, and after 15 s the rest of its process group is killed.
    """
    port = free_port()
    log = Path(tempfile.mkstemp(prefix=f"serving-{name}-", suffix=".log")[1])
    arguments = [argument.replace("{port}", str(port)) for argument in command]
    with log.open("wb") as handle:
        process = subprocess.Popen(
            arguments, stdout=handle, stderr=handle, start_new_session=True, env={**os.environ, **(environment or {})}
        )
    try:
        end = time.monotonic() + within
        while status_of(port, ready) != 200:
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{name} did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
            time.sleep(0.1)
        yield Server(name, process, port, log)
    finally:
        _end(process)
        log.unlink(missing_ok=True)


def stop_servers_on_sigterm() -> None:
    """Makes SIGTERM run the exits of `with` blocks; otherwise Python would leave the servers running."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stops the process group of `running`: SIGTERM first, then SIGKILL."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)


def hftool_server(*models: str, options: Sequence[str] = ()) -> list[str]:
    """The hftool command that serves these models."""
    return [sys.executable, "-m", "hftool", "serve", *models, "--port", "{port}", *options]


def logged_milliseconds(server: Server, status: int, *, after: float) -> dict[str, float]:
    """Percentiles of the milliseconds in hftool's access log for a status, without the first `after` seconds."""
    lines = [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    sent_at = [(datetime.fromisoformat(line["time"]).timestamp(), line) for line in lines if "status" in line]
    begin = min((when for when, line in sent_at if line["route"] == "/predict"), default=0.0) + after
    times = [float(line["ms"]) for when, line in sent_at if line["status"] == status and when > begin]
    return {f"p{share}": round(percentile(times, share), 1) for share in (50, 90, 99)} if times else {}


@contextlib.contextmanager
def ahead() -> Iterator[None]:
    """Raises the scheduling priority of this process if allowed: a client on another machine would not compete for the cores
    of the server."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except (PermissionError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


# ---- the client


def request(path: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST") -> bytes:
    """The bytes of a request."""
    lines = {"Host": f"{HOST}", "Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def json_request(path: str, content: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a POST request with a JSON body."""
    return request(path, json.dumps(content).encode(), headers)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response and its latency in seconds. Header names are lower case."""

    status: int
    seconds: float
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> Any:
        """The body parsed as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection:
    """A connection, opened on first use and reopened after the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, message: bytes, seconds: float = 120.0) -> Reply:
        """Sends a request and waits for the complete response. Raises one of CLOSED, or TimeoutError."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                if self.writer is None or self.reader is None:
                    self.reader, self.writer = await asyncio.open_connection(HOST, self.port)
                self.writer.write(message)
                status, headers, body = await read_reply(self.reader)
        except BaseException:
            self.close()
            raise
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, time.perf_counter() - started, headers, body)

    def close(self) -> None:
        """Closes the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one HTTP/1.1 response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
        body = b"".join(parts)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split(" ", 2)[1]), headers, body


@dataclass
class Load:
    """Results of a load: seconds by status, separately for the opening, and connections reset or refused."""

    seconds: float = 0.0
    by_status: dict[int, list[float]] = field(default_factory=dict)
    opening: dict[int, list[float]] = field(default_factory=dict)
    resets: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0

    def add(self, reply: Reply, *, opening: bool) -> None:
        """Counts a response. opening: whether its request was sent during the opening."""
        (self.opening if opening else self.by_status).setdefault(reply.status, []).append(reply.seconds)
        if reply.status == 429 and not reply.headers.get("retry-after", "").isdigit():
            self.without_retry_after += 1

    @property
    def statuses(self) -> dict[int, int]:
        """Number of responses by status, including the opening."""
        return {
            status: len(self.opening.get(status, [])) + len(self.by_status.get(status, []))
            for status in sorted({*self.opening, *self.by_status})
        }

    @property
    def answered_per_second(self) -> float:
        """Responses with status 200 per second."""
        return self.statuses.get(200, 0) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The results for JSON, times in milliseconds."""
        return {
            "seconds": round(self.seconds, 2),
            "answered_per_second": round(self.answered_per_second, 1),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "resets": dict(self.resets),
            "429_without_retry_after": self.without_retry_after,
            "milliseconds": milliseconds(self.by_status),
            **({"milliseconds_of_the_opening": milliseconds(self.opening)} if self.opening else {}),
        }


def milliseconds(by_status: Mapping[int, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Percentiles of seconds by status, in milliseconds."""
    return {
        str(status): {f"p{share}": round(percentile(times, share) * 1000, 1) for share in (50, 90, 99)}
        for status, times in sorted(by_status.items())
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed; NaN for an empty list."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] if ordered else math.nan


async def closed_loop(
    port: int,
    messages: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    patience: float = 0.0,
    opening: float = 0.0,
    until: Callable[[], bool] = lambda: False,
) -> Load:
    """Runs `clients` clients for `seconds` seconds; each sends the next message as soon as it has a response.

    patience: seconds that a client waits after a 429, varied by 50 %, so that refused clients
    do not retry at the same time. opening: seconds at the start that are counted separately. until: ends the load early.
    Requests in flight at the end are waited for.
    """
    load, started, rng = Load(), time.perf_counter(), random.Random(0)
    end = started + seconds

    async def one(number: int) -> None:
        connection, at = Connection(port), number * 7919
        while time.perf_counter() < end and not until():
            try:
                reply = await connection.ask(messages[at % len(messages)])
            except (*CLOSED, TimeoutError) as error:
                load.resets[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            load.add(reply, opening=time.perf_counter() - reply.seconds < started + opening)
            at += 1
            if reply.status == 429 and patience:
                await asyncio.sleep(patience * rng.uniform(0.5, 1.5))
        connection.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    load.seconds = time.perf_counter() - started
    return load


# ---- texts and results


def mixed_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of mixed length: of 20, 14 have one sentence of sst2-mini, 5 have two to four, one has eight to twelve."""
    sentences = [line.rsplit("\t", 1)[0] for line in TEXTS.read_text(encoding="utf-8").splitlines()[1:]]
    rng = random.Random(seed)
    sizes = [*([(1, 1)] * 14), *([(2, 4)] * 5), (8, 12)]
    texts = [" ".join(rng.choices(sentences, k=rng.randint(*sizes[i % 20]))) for i in range(count)]
    rng.shuffle(texts)
    return texts


def versions() -> dict[str, str]:
    """The versions of the libraries."""
    known = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def command_line() -> str:
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *(Path(argument).name for argument in sys.argv[1:])])


def save_result(path: str | None, result: Mapping[str, Any]) -> None:
    """Writes a result with command, machine and versions, if a path is given."""
    from hftool.machine import this_machine

    whole = {"command": command_line(), **result, "machine": this_machine().as_dict(), "versions": versions()}
    if path:
        Path(path).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values) if values else math.nan
