"""The requests that compare_versions.py sends to `hftool serve` of two versions."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODELS = (
    *("films=runs/films", "names=runs/names", "questions=runs/questions", "talks=runs/talks", "writer=gpt2-mini"),
    *("vectors=minilm", "masks=bert-mini"),
)
KEY = "a-key-of-sixteen-or-more-characters"
# of every answer, these say nothing or change with every request
IGNORED_HEADERS = ("date", "x-request-id", "content-length")


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        method: GET, POST, ...
        path: With its query.
        body: A document that is sent as JSON, or bytes as they are.
        headers: Further headers.
    """

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        data = self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()
        shown = (
            data.decode("utf-8", "replace")
            if len(data) < 100
            else f"{data[:90].decode('utf-8', 'replace')}... ({len(data)} bytes)"
        )
        return (
            f"{self.method} {self.path}"
            + ("" if self.body is None else f" {shown}")
            + (f" {dict(self.headers)}" if self.headers else "")
        )


def get(path: str, **headers: str) -> Call:
    return Call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def post(path: str, body: Any, **headers: str) -> Call:
    return Call("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def pages() -> list[Call]:
    """Routes that answer without a model, and paths that are none."""
    return [
        *(
            get(path)
            for path in ("/livez", "/readyz", "/health", "/", "/info", "/v1/models", "/v1/models/films", "/v1/models/nosuch")
        ),
        *(get(path) for path in ("/openapi.json", "/nosuch", "/docs", "/predict", "/livez?x=1", "/livez/")),
        *(
            Call(method, path)
            for method, path in (
                ("HEAD", "/livez"),
                ("PUT", "/predict"),
                ("OPTIONS", "/predict"),
                ("DELETE", "/livez"),
                ("POST", "/livez"),
            )
        ),
        get("/livez", Host="evil.example"),
        get("/livez", Host="localhost"),
    ]


def inputs() -> list[tuple[str, Any]]:
    """Models with bodies for their routes."""
    question = {"question": "Who was lost?", "context": "The lighthouse was lit in 1874, after three boats were lost."}
    return [
        ("films", {"inputs": "A warm film."}),
        ("films", {"inputs": ["A warm film.", "A dull one."], "parameters": {"top_k": 1}}),
        ("films", {"inputs": "A warm film.", "parameters": {"nosuch": 1}}),
        ("films", {"inputs": "A warm film.", "parameters": {"top_k": -1}}),
        ("films", {"inputs": ""}),
        ("films", {"inputs": []}),
        ("films", {"inputs": {"text": "A warm film.", "text_pair": "x"}}),
        ("films", {"inputs": ["x"] * 300}),
        ("films", {"inputs": 5}),
        ("films", {"inputs": "word " * 3000}),
        ("names", {"inputs": "Amina Okafor flew to Lisbon."}),
        ("names", {"inputs": "Amina flew.", "parameters": {"aggregation_strategy": "none"}}),
        ("questions", {"inputs": question}),
        ("questions", {"inputs": [question, {**question, "question": "When?"}]}),
        ("questions", {"inputs": "no context"}),
        ("questions", {"inputs": {"question": "x"}}),
        ("talks", {"inputs": "#Person1#: Is it open?", "parameters": {"max_new_tokens": 8}}),
        ("talks", {"inputs": "#Person1#: Is it open?", "parameters": {"num_beams": 2, "do_sample": False}}),
        ("writer", {"inputs": "Once", "parameters": {"max_new_tokens": 8, "do_sample": False}}),
        ("writer", {"inputs": "Once", "parameters": {"max_new_tokens": 8, "do_sample": True, "seed": 3, "temperature": 0.7}}),
        ("writer", {"inputs": "Once", "parameters": {"max_new_tokens": 100000}}),
        ("writer", {"inputs": "Once", "parameters": {"temperature": "hot"}}),
        ("writer", {"inputs": "Once", "parameters": {"return_full_text": False, "max_new_tokens": 4, "do_sample": False}}),
        ("vectors", {"inputs": ["A man.", ""]}),
        ("vectors", {"inputs": {"source_sentence": "A man.", "sentences": ["A dog.", "A man."]}}),
        ("masks", {"inputs": "The [MASK] opened."}),
        ("masks", {"inputs": "No mask."}),
        ("nosuch", {"inputs": "x"}),
    ]


def predictions() -> list[Call]:
    """The routes of Hugging Face's tasks."""
    bad = (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"inputs": NaN}',
        b"[" * 2000,
        b"\xff\xfe{}",
        b'{"inputs": "a", "inputs": "b"}',
        b'{"text": "a"}',
        b'{"inputs": "\\ud800"}',
        b'{"inputs": "a\\u0000b"}',
    )
    return [
        post("/predict", {"inputs": "A warm film."}),
        *(post("/predict", body) for body in bad),
        post("/predict", b'{"inputs": "x"}', Content_Type="text/plain"),
        post("/predict", b'{"inputs": "x"}', Content_Encoding="gzip"),
        post("/predict", b'{"inputs": "' + b"x" * 3_000_000 + b'"}'),
        *(post(f"/models/{name}/predict", body) for name, body in inputs()),
    ]


def openai() -> list[Call]:
    """The routes of OpenAI."""
    greedy = {"model": "writer", "prompt": "Once upon", "max_tokens": 8, "temperature": 0}
    completions = [
        greedy,
        {**greedy, "prompt": ["Once", "One day"]},
        {**greedy, "stream": True},
        {**greedy, "temperature": 1, "seed": 4, "n": 2, "top_p": 0.9},
        {**greedy, "stop": ["a"], "echo": True},
        {**greedy, "logprobs": 2},
        {**greedy, "model": "films"},
        {**greedy, "model": "nosuch"},
        {"model": "writer"},
        {**greedy, "prompt": [5, 6]},
        {**greedy, "prompt": [[5, 6], [7]]},
        {**greedy, "prompt": [999999]},
        {**greedy, "prompt": ""},
        {**greedy, "max_tokens": 0},
        {**greedy, "max_tokens": -1},
        {**greedy, "n": 1000},
        {**greedy, "best_of": 3},
        {**greedy, "nosuch": 1},
        {**greedy, "stream": True, "n": 2, "temperature": 1, "seed": 4},
    ]
    embeddings = [
        {"model": "vectors", "input": "A man."},
        {"model": "vectors", "input": ["A man.", "A dog."], "encoding_format": "base64"},
        {"model": "vectors", "input": [5, 6]},
        {"model": "vectors", "input": ""},
        {"model": "vectors", "input": []},
        {"model": "vectors", "input": "x", "dimensions": 5},
        {"model": "films", "input": "x"},
        {"input": "x"},
    ]
    return [
        *(post("/v1/completions", body) for body in completions),
        *(post("/v1/embeddings", body) for body in embeddings),
        post("/v1/chat/completions", {"model": "writer", "messages": [{"role": "user", "content": "Hi"}]}),
        get("/metrics"),
    ]


def keyed() -> list[Call]:
    """To a server that wants a key."""
    body = {"inputs": "The [MASK] opened."}
    return [
        *(get(path) for path in ("/livez", "/readyz", "/", "/info", "/metrics", "/openapi.json", "/nosuch")),
        post("/predict", body),
        post("/predict", body, Authorization="Bearer wrong"),
        post("/predict", body, Authorization=f"Bearer {KEY}"),
        post("/predict", body, Authorization=f"bearer {KEY}"),
        post("/predict", body, Authorization=f"Basic {KEY}"),
        get("/info", X_API_Key=KEY),
        get("/v1/models", Authorization=f"Bearer {KEY}"),
    ]


SERVERS: tuple[tuple[Sequence[str], Sequence[Call]], ...] = (
    (("serve", *MODELS, "--offline"), (*pages(), *predictions(), *openai())),
    (("serve", "bert-mini", "--offline", "--api-key-file", "keys.txt"), keyed()),
    (("serve", "onnx", "--offline"), (get("/info"), post("/predict", {"inputs": "A warm film."}))),
)


def response_to(port: int, call: Call) -> str:
    """Status, headers and body of the answer as text."""
    data = call.body if isinstance(call.body, bytes | None) else json.dumps(call.body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(call.method, call.path, data, {**headers, **call.headers})
        answer = connection.getresponse()
        shown = sorted(f"{name.lower()}: {value}" for name, value in answer.getheaders() if name.lower() not in IGNORED_HEADERS)
        body = answer.read().decode("utf-8", "replace")
        return "\n".join([str(answer.status), *shown, "", body])
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}"
    finally:
        connection.close()


@contextlib.contextmanager
def started(arguments: Sequence[str], workspace: Path, environment: Mapping[str, str], log: Path):
    """(process, port) of a server that answers, or that has ended; it is killed at the end if it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as handle:
        process = subprocess.Popen(
            [sys.executable, "-m", "hftool", *arguments, "--port", str(port)],
            cwd=workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=handle,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < end and not response_to(port, get("/readyz")).startswith("200"):
            time.sleep(0.2)
        yield process, port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def served(arguments: Sequence[str], calls: Sequence[Call], workspace: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a server answers, by the title of each call, and how it ends and logs."""
    log = workspace / "server.log"
    title = "hftool " + " ".join(arguments)[:60]
    texts = {}
    with started(arguments, workspace, environment, log) as (process, port):
        for call in calls:
            texts[f"[serve {arguments[1]}] {call.title}"] = response_to(port, call).replace(str(port), "PORT")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        texts[f"{title}: ends"] = f"code {process.returncode}\n{rest.decode()}".replace(str(port), "PORT")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    texts[f"{title}: log"] = "\n".join(line for line in lines if "/readyz" not in line).replace(str(port), "PORT")
    return texts
