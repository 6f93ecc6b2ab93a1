"""Server processes for tests: ready when `started` yields, killed at the latest when it ends."""

import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from support import forked

PATIENCE = 240.0  # s until it answers; three heavy imports beside others who want the cores


@dataclasses.dataclass
class Server:
    """url: where it is. port. process: its Popen. log: the file with its stderr."""

    url: str
    port: int
    process: subprocess.Popen
    log: Path

    def lines(self):
        """What it logged, each line parsed; lines that are no JSON as they are."""
        return [_parsed(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def ask(self, path, content=None, *, method=None, headers=None, timeout=30):
        """-> status, headers with small letters, body parsed if it is JSON. content: bytes as they are, else sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
            known = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method or ("GET" if body is None else "POST"), path, body, {**known, **(headers or {})})
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, _parsed(text)
        finally:
            connection.close()

    def raw(self, data=b"", *, timeout=15):
        """A socket over which these bytes were sent."""
        result = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        result.sendall(data)
        return result

    def stop(self, number=signal.SIGTERM, timeout=30):
        """Send a signal -> (exit code, seconds that it took)."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(timeout), time.monotonic() - began


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text.decode() if isinstance(text, bytes) else text


@contextlib.contextmanager
def started(models, *options, folder, before="", launch=(), env=None):
    """A server for these models (words of the command line) on a free port, its log in `folder`.

    Args:
        models: Words of the command line.
        options: More of them.
        folder: Where its log is.
        before: "module:function", which is called in the server first.
        launch: What a new interpreter runs; else the server is forked from a process that has imported all it needs.
        env: Additions to its environment.

    Raises:
        RuntimeError: It does not come up; with its log.
    """
    log = Path(folder) / f"serve-{time.monotonic_ns()}.log"
    words = ["serve", *models, "--port", "0", "--offline", *options]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **(env or {})}
    log.touch()
    if launch:
        command = [sys.executable, *launch, *map(str, words)]
        with open(log, "wb") as handle:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=handle, env=known)
    else:
        process = forked.start(words, environment=known, stderr=log, before=before)
    try:
        url = _wait(process, log)
        yield Server(url, int(url.rpartition(":")[2]), process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def _wait(process, log):
    """The address, once the server says that it is ready."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            event = _parsed(line)
            if isinstance(event, dict) and event.get("event") == "ready":
                return event["url"]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not come up (exit {process.poll()}): {log.read_text(encoding='utf-8')[-2000:]}")
