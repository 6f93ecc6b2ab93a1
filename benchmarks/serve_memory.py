"""Memory leaks of the server: resident memory under rounds of mixed valid and invalid requests.

    python benchmarks/serve_memory.py [--classifier RUN] [--writer MODEL] [--requests 30000] [--rounds 2] [--only KIND ...]
                                      [--out benchmarks/results/serve_memory.json]

Without models a bert-mini is fine-tuned on sst2-mini for an epoch and gpt2-mini generates; both are bundled. Each round
sends the same number of requests of all KINDS in turn, from --clients callers. Memory is read when a round is over and no
request is in flight, and within a round every 1,000 requests, with requests in flight.

Bar: only the expected statuses of each kind, no connection closed by the server, and after the first round a growth
of less than 1 MB (1,000,000 bytes) per 1,000 requests.
"""

import argparse
import asyncio
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import serving
from serving import CLOSED, HOST, Connection, hftool_server, json_request, mixed_texts, request, running, save_result

MAX_GROWTH = 1.0  # MB per 1,000 requests
STEP = 1000  # requests between two memory readings
SETTLE = 2.0  # seconds without a request before memory is read at the end of a round
EVENTS_READ = (1, 2, 5, 12)  # events of a stream before its client disconnects
CLASSIFIER, WRITER = "film", "writer"


@dataclass
class Caller:
    """One client with its port, its random generator, and a connection kept open between complete answers."""

    port: int
    rng: random.Random
    texts: list[str]
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.port)

    async def status_of(self, message: bytes) -> int:
        """Sends a request and reads the complete answer. A connection closed by the server while idle is reopened."""
        was_open = self.connection.writer is not None
        try:
            return (await self.connection.ask(message)).status
        except CLOSED:
            if not was_open:
                raise
            return (await self.connection.ask(message)).status

    async def disconnect(self, message: bytes, events: int) -> int:
        """Sends a request on a separate connection and disconnects after `events` events of the answer; 0: at once."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(message)
            await writer.drain()
            if not events:
                await asyncio.sleep(self.rng.uniform(0, 0.02))
                return 0
            status = int((await reader.readline()).split()[1])
            for _ in range(events):
                await reader.readuntil(b"data: ")
            return status
        except asyncio.IncompleteReadError:  # the stream ended earlier
            return 200
        finally:
            writer.close()


def completion(caller: Caller, **more: Any) -> bytes:
    """A completion request of typical length."""
    words = caller.rng.choice(caller.texts).split()
    prompt = " ".join(words[: caller.rng.randint(1, 40)])
    tokens = caller.rng.choice((4, 8, 16, 32, 64))
    return json_request("/v1/completions", {"model": WRITER, "prompt": prompt, "max_tokens": tokens, **more})


def classification(caller: Caller, count: int = 1) -> bytes:
    """A classification request with `count` texts."""
    texts = caller.rng.choices(caller.texts, k=count)
    return json_request(f"/models/{CLASSIFIER}/predict", {"inputs": texts if count > 1 else texts[0]})


def invalid(caller: Caller) -> bytes:
    """A request whose body is not JSON or not valid."""
    path = caller.rng.choice((f"/models/{CLASSIFIER}/predict", "/v1/completions"))
    return request(path, caller.rng.choice((b'{"inputs": ', b"\xff\xfe", b'{"a": NaN}', b"[]", b'{"inputs": {"x": 1}}')))


def too_large(caller: Caller) -> bytes:
    """A request whose headers declare a body over the limit; no body is sent."""
    return request(f"/models/{CLASSIFIER}/predict", b"", {"Content-Length": str(caller.rng.randint(1_100_000, 10**9))})


def unknown(caller: Caller) -> bytes:
    """A request for a path that does not exist."""
    return request(f"/{caller.rng.getrandbits(64):x}", b"{}")


# kind of request -> function that sends it, expected statuses
KINDS: Mapping[str, tuple[Callable[[Caller], Awaitable[int]], tuple[int, ...]]] = {
    "classify": (lambda c: c.status_of(classification(c)), (200,)),
    "classify many": (lambda c: c.status_of(classification(c, c.rng.randint(2, 16))), (200,)),
    "complete": (lambda c: c.status_of(completion(c)), (200,)),
    "stream": (lambda c: c.status_of(completion(c, stream=True)), (200,)),
    "stream left": (lambda c: c.disconnect(completion(c, stream=True), c.rng.choice(EVENTS_READ)), (200,)),
    "complete left": (lambda c: c.disconnect(completion(c), 0), (0,)),
    "classify left": (lambda c: c.disconnect(classification(c), 0), (0,)),
    "wrong": (lambda c: c.status_of(invalid(c)), (400, 422)),
    "too large": (lambda c: c.status_of(too_large(c)), (413,)),
    "unknown": (lambda c: c.status_of(unknown(c)), (404,)),
}


@dataclass
class RoundResult:
    """Results of a round: statuses by kind, faults, and memory by number of requests."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    memory: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The results for JSON; memory in MB."""
        statuses = {kind: {str(s): n for s, n in sorted(known.items())} for kind, known in self.statuses.items()}
        memory = {str(count): round(size / 1e6, 1) for count, size in self.memory.items()}
        return {"seconds": round(self.seconds, 1), "statuses": statuses, "faults": dict(self.faults), "memory": memory}


async def _call(caller: Caller, turns: Iterator[tuple[int, str]], outcome: RoundResult, server: serving.Server) -> None:
    """Sends requests until there are no more turns."""
    for number, kind in turns:
        ask, right = KINDS[kind]
        try:
            status = await ask(caller)
        except (*CLOSED, TimeoutError) as error:
            outcome.faults[f"{kind}: {type(error).__name__}"] += 1
            continue
        outcome.statuses.setdefault(kind, Counter())[status] += 1
        if status not in right:
            outcome.faults[f"{kind}: {status}"] += 1
        if number % STEP == 0:
            outcome.memory[number] = server.memory()
    caller.connection.close()


async def load(server: serving.Server, kinds: list[str], *, requests: int, clients: int, seed: int) -> RoundResult:
    """Sends `requests` requests of these kinds, in turn."""
    outcome, started = RoundResult(), time.perf_counter()
    turns = iter([(number, kinds[number % len(kinds)]) for number in range(1, requests + 1)])
    texts = mixed_texts(500)
    callers = [Caller(server.port, random.Random(f"{seed} {number}"), texts) for number in range(clients)]
    await asyncio.gather(*(_call(caller, turns, outcome, server) for caller in callers))
    outcome.seconds = time.perf_counter() - started
    await asyncio.sleep(SETTLE)
    outcome.memory[requests] = server.memory()
    return outcome


def measure(server: serving.Server, options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of one server, and the memory growth after the first."""
    kinds = options.only or list(KINDS)
    ready, rounds = server.memory(), []
    for number in range(options.rounds):
        known = {"requests": options.requests, "clients": options.clients, "seed": number}
        rounds.append(asyncio.run(load(server, kinds, **known)))
        sizes = " ".join(f"{size / 1e6:.0f}" for size in rounds[-1].memory.values())
        print(f"round {number + 1}: {rounds[-1].seconds:.0f} s, MB {sizes}; faults {dict(rounds[-1].faults)}", flush=True)
    ends = [outcome.memory[options.requests] for outcome in rounds]
    growth = [(after - before) / 1e6 / (options.requests / 1000) for before, after in itertools.pairwise(ends)]
    faults = sum((outcome.faults for outcome in rounds), Counter[str]())
    holds = not faults and all(one < MAX_GROWTH for one in growth)
    print(f"MB per 1,000 requests after the first round: {[round(one, 2) for one in growth]}: {holds}", flush=True)
    return {
        "kinds": kinds,
        "requests_of_a_round": options.requests,
        "clients": options.clients,
        "memory_when_ready": round(ready / 1e6, 1),
        "rounds": [outcome.as_dict() for outcome in rounds],
        "mb_for_1000_requests": [round(one, 3) for one in growth],
        "bar": MAX_GROWTH,
        "holds": holds,
    }


def fine_tuned(folder: Path) -> str:
    """A classifier trained in seconds."""
    from hftool import workflow

    workflow.finetune("bert-mini", "sst2-mini", config={"epochs": 1}, out=folder / "run", offline=True)
    return str(folder / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", metavar="RUN")
    parser.add_argument("--writer", metavar="MODEL", default="gpt2-mini")
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", nargs="*", choices=list(KINDS))
    parser.add_argument("--out")
    options = parser.parse_args()
    serving.stop_servers_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="serve-memory-"))
    try:
        models = [f"{CLASSIFIER}={options.classifier or fine_tuned(folder)}", f"{WRITER}={options.writer}"]
        with running("hftool", hftool_server(*models, options=["--offline", "--quiet"]), ready="/readyz") as server:
            result = measure(server, options)
    finally:
        shutil.rmtree(folder)
    save_result(options.out, result)
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
