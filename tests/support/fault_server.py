"""A server process with switches for fault injection, and requests to it."""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from support.serving import Server, started

HERE = Path(__file__).parent
KEY = "a-key-for-tests-0123456789"
QUEUE = 64
TIMEOUT = 20
SLOW = 2.0  # s that a client has for a request: 5 would be long to wait for
BAD_WORDS = {"raise": "joy", "memory": "chore", "nan": "flat"}  # words that the tiny tokenizer knows as one token


@dataclass
class Switched:
    """A server and the folder of its switches. Its `ask` has the key."""

    server: Server
    switches: Path

    @property
    def port(self):
        return self.server.port

    def ask(self, path, content=None, *, key=KEY, headers=None, **more):
        """As Server.ask."""
        known = {"Authorization": f"Bearer {key}"} if key else {}
        return self.server.ask(path, content, headers={**known, **(headers or {})}, **more)

    def predict(self, inputs, **parameters):
        """Status and reply of the classifier."""
        status, _, reply = self.ask("/models/film/predict", {"inputs": inputs, "parameters": parameters})
        return status, reply

    @contextlib.contextmanager
    def switched(self, name):
        """A switch, on for as long as this lasts."""
        path = self.switches / name
        path.touch()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def noted(self, name):
        """The lines of a file that the sabotage writes."""
        path = self.switches / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def metrics(self):
        """Name with its labels -> value."""
        status, _, text = self.ask("/metrics")
        assert status == 200
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def until(self, true, seconds=15):
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.01)

    def wait_for_rows(self, count):
        """Wait until so many rows are in the queue."""
        self.until(lambda: self.metrics()["hftool_queue_size"] == count)

    def head(self, path="/models/film/predict", *more):
        """The first lines of a POST with the key, up to where its own headers go."""
        lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}", *more)
        return "".join(f"{line}\r\n" for line in lines).encode()

    def message(self, body, path="/models/film/predict"):
        """A whole POST."""
        return self.head(path, "Content-Type: application/json", f"Content-Length: {len(body)}") + b"\r\n" + body


def bad_words(folder):
    """The token ids on which the model fails."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {kind: tokenizer.convert_tokens_to_ids(word) for kind, word in BAD_WORDS.items()}
    assert tokenizer.unk_token_id not in ids.values()
    return json.dumps(ids)


@contextlib.contextmanager
def switched_server(models, *options, folder, environment=None):
    """A server with switches. One that is to run under another command (HFTOOL_BEFORE) has its own interpreter."""
    switches = folder / "switches"
    switches.mkdir()
    env = {"HFTOOL_SABOTAGE": str(switches), **(environment or {})}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    how = {"launch": (HERE / "sabotage.py",)} if "HFTOOL_BEFORE" in env else {"before": "support.sabotage:install"}
    with started(models, *options, folder=folder, env=env, **how) as server:
        yield Switched(server, switches)


async def reply_on(reader):
    """Status and headers of one reply of HTTP; its body is read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split(" ")[1]), headers
