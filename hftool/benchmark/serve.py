"""Answers over HTTP: a server in a process of its own, and clients that each send the next text once they have an answer."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hftool.benchmark.arm import Arm, Counts, Outcome
from hftool.benchmark.infer import InferWork
from hftool.benchmark.infer import open_work as open_infer
from hftool.benchmark.job import Job
from hftool.errors import DataError, UsageError

START = 120.0  # seconds in which a server answers
STOP = 15.0  # seconds in which it ends
PATH = "/predict"
REQUEST = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


@dataclass
class ServeWork:
    """A classifier, its texts and the servers that were started."""

    job: Job
    infer: InferWork
    servers: list["subprocess.Popen[str]"] = field(default_factory=list)

    def ours(self, variant: str) -> Arm:
        """`hftool serve` with its defaults. variant: its precision."""
        words = ["--port", "0", "--json", "--quiet", "--precision", variant, *(["--offline"] if self.job.offline else [])]
        server = self.start([sys.executable, "-m", "hftool", "serve", self.job.model, *words])
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise DataError("the server of hftool did not start", f"Try it: hftool serve {self.job.model}")
        number_format = self.infer.ours(variant).number_format
        return self.arm(server, urlsplit(json.loads(line)["url"]).port or 0, number_format)

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a server, which ends with the work."""
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  this interpreter and this package
        self.servers.append(server)
        return server

    def arm(self, server: "subprocess.Popen[str]", port: int, number_format: str) -> Arm:
        """The arm of a server that answers on a port of this machine."""
        texts = [row["text"] for row in self.infer.rows]

        def _run() -> Outcome:
            start = time.perf_counter()
            answers = asyncio.run(ask_all(port, texts, self.job.clients))
            return Outcome(answers, len(answers), time.perf_counter() - start)

        return Arm(_run, number_format, counts=Counts(), memory=lambda: peak_of(server.pid))

    def facts(self) -> dict[str, Any]:
        """The texts, and the operations of one."""
        return {**self.infer.facts(), "clients": self.job.clients}

    def compare(self, arm: str, outputs: Any) -> dict[str, Any]:
        """The share of labels that are those of fp32."""
        return self.infer.compare(arm, outputs)

    def close(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            server.terminate()
            try:
                server.wait(STOP)
            except subprocess.TimeoutExpired:
                server.kill()


def open_work(job: Job) -> ServeWork:
    """The model and the texts of a job. Raises UsageError: the model is no classifier of single texts."""
    infer = open_infer(job)
    if infer.loaded.head_config.head != "classify" or set(infer.rows[0]) != {"text"} or not infer.loaded.head_config.labels:
        raise UsageError("servers are compared on classifiers of single texts", f"hftool bench infer {job.model}")
    return ServeWork(job, infer)


async def ask_all(port: int, texts: Sequence[str], clients: int) -> list[str]:
    """The label of each text, from clients on connections of their own. Raises DataError for a status other than 200."""
    labels, pending = [""] * len(texts), iter(range(len(texts)))

    async def _client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in pending:
            body = json.dumps({"inputs": texts[i]}).encode()
            writer.write(REQUEST.format(PATH, len(body)).encode("ascii") + body)
            labels[i] = _best_label(await _reply(reader))
        writer.close()

    await asyncio.gather(*(_client() for _ in range(min(clients, len(texts)))))
    return labels


async def _reply(reader: asyncio.StreamReader) -> Any:
    """The JSON of one reply."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)^content-length: *(\d+)", head, flags=re.MULTILINE)
    body = await reader.readexactly(int(length[1]) if length else 0)
    if " 200 " not in head.partition("\r\n")[0]:
        raise DataError(f"a server answered with {head.partition(chr(13))[0]}")
    return json.loads(body)


def _best_label(reply: Any) -> str:
    answers = reply[0] if isinstance(reply[0], list) else reply
    return str(max(answers, key=lambda answer: answer["score"])["label"])


def peak_of(process: int) -> int:
    """The peak of the resident memory of another process in bytes; 0 where the system does not say it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0
