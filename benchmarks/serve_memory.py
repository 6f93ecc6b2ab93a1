"""What the server keeps of requests that are over: resident memory under a mix of good and bad ones, in rounds.

    python benchmarks/serve_memory.py [--classifier RUN] [--writer MODEL] [--requests 30000] [--rounds 2] [--only KIND ...]
                                      [--out benchmarks/results/serve_memory.json]

Without models a bert-mini is fine-tuned on sst2-mini for an epoch and gpt2-mini writes: both come with the package. Each round
sends the same number of requests of all KINDS in turn, from --clients callers. Memory is read when a round is over and nothing
is in flight; inside of a round it is read every 1,000 requests, with requests in flight.

Wanted: no status but those of the kind, no connection lost that the client did not close, and after the first round a growth
of less than 1 MB (of 1,000,000 bytes) for 1,000 requests.
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
from serving import CLOSED, HOST, Connection, asked, hftool_server, keep, mixed_texts, request, running

MOST_GROWTH = 1.0  # MB for 1,000 requests
STEP = 1000  # requests between two looks at the memory
SETTLE = 2.0  # s without a request before memory is read at the end of a round
EVENTS_READ = (1, 2, 5, 12)  # of a stream, until its client leaves
CLASSIFIER, WRITER = "film", "writer"


@dataclass
class Caller:
    """One client: its port, its draws, and a connection that is kept open between whole answers."""

    port: int
    draw: random.Random
    texts: list[str]
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.port)

    async def status_of(self, message: bytes) -> int:
        """Ask and read the whole answer. A connection that the server closed meanwhile, since it was idle, is opened anew."""
        kept = self.connection.writer is not None
        try:
            return (await self.connection.ask(message)).status
        except CLOSED:
            if not kept:
                raise
            return (await self.connection.ask(message)).status

    async def leave(self, message: bytes, events: int) -> int:
        """Ask on a connection of its own, and hang up after so many events of the answer; 0: at once."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(message)
            await writer.drain()
            if not events:
                await asyncio.sleep(self.draw.uniform(0, 0.02))
                return 0
            status = int((await reader.readline()).split()[1])
            for _ in range(events):
                await reader.readuntil(b"data: ")
            return status
        except asyncio.IncompleteReadError:  # the text was shorter
            return 200
        finally:
            writer.close()


def completion(caller: Caller, **more: Any) -> bytes:
    """A request for a text of about the length of those that people ask for."""
    words = caller.draw.choice(caller.texts).split()
    prompt = " ".join(words[: caller.draw.randint(1, 40)])
    tokens = caller.draw.choice((4, 8, 16, 32, 64))
    return asked("/v1/completions", {"model": WRITER, "prompt": prompt, "max_tokens": tokens, **more})


def classification(caller: Caller, count: int = 1) -> bytes:
    """A request for the labels of so many texts."""
    texts = caller.draw.choices(caller.texts, k=count)
    return asked(f"/models/{CLASSIFIER}/predict", {"inputs": texts if count > 1 else texts[0]})


def wrong(caller: Caller) -> bytes:
    """A body that is no JSON, or none of a request."""
    path = caller.draw.choice((f"/models/{CLASSIFIER}/predict", "/v1/completions"))
    return request(path, caller.draw.choice((b'{"inputs": ', b"\xff\xfe", b'{"a": NaN}', b"[]", b'{"inputs": {"x": 1}}')))


def too_large(caller: Caller) -> bytes:
    """A body over the limit, by its headers; none of it is sent."""
    return request(f"/models/{CLASSIFIER}/predict", b"", {"Content-Length": str(caller.draw.randint(1_100_000, 10**9))})


def unknown(caller: Caller) -> bytes:
    """A path that there is not."""
    return request(f"/{caller.draw.getrandbits(64):x}", b"{}")


# what is asked -> how, and the statuses that are right
KINDS: Mapping[str, tuple[Callable[[Caller], Awaitable[int]], tuple[int, ...]]] = {
    "classify": (lambda c: c.status_of(classification(c)), (200,)),
    "classify many": (lambda c: c.status_of(classification(c, c.draw.randint(2, 16))), (200,)),
    "complete": (lambda c: c.status_of(completion(c)), (200,)),
    "stream": (lambda c: c.status_of(completion(c, stream=True)), (200,)),
    "stream left": (lambda c: c.leave(completion(c, stream=True), c.draw.choice(EVENTS_READ)), (200,)),
    "complete left": (lambda c: c.leave(completion(c), 0), (0,)),
    "classify left": (lambda c: c.leave(classification(c), 0), (0,)),
    "wrong": (lambda c: c.status_of(wrong(c)), (400, 422)),
    "too large": (lambda c: c.status_of(too_large(c)), (413,)),
    "unknown": (lambda c: c.status_of(unknown(c)), (404,)),
}


@dataclass
class Met:
    """What a round has met: statuses by kind, what was wrong, and the memory after so many requests."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    memory: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON; memory in MB."""
        statuses = {kind: {str(s): n for s, n in sorted(known.items())} for kind, known in self.statuses.items()}
        memory = {str(count): round(size / 1e6, 1) for count, size in self.memory.items()}
        return {"seconds": round(self.seconds, 1), "statuses": statuses, "faults": dict(self.faults), "memory": memory}


async def _call(caller: Caller, turns: Iterator[tuple[int, str]], met: Met, server: serving.Server) -> None:
    """Ask, until there are no more turns."""
    for number, kind in turns:
        ask, right = KINDS[kind]
        try:
            status = await ask(caller)
        except (*CLOSED, TimeoutError) as error:
            met.faults[f"{kind}: {type(error).__name__}"] += 1
            continue
        met.statuses.setdefault(kind, Counter())[status] += 1
        if status not in right:
            met.faults[f"{kind}: {status}"] += 1
        if number % STEP == 0:
            met.memory[number] = server.memory()
    caller.connection.close()


async def load(server: serving.Server, kinds: list[str], *, requests: int, clients: int, seed: int) -> Met:
    """So many requests of these kinds, in turn."""
    met, started = Met(), time.perf_counter()
    turns = iter([(number, kinds[number % len(kinds)]) for number in range(1, requests + 1)])
    texts = mixed_texts(500)
    callers = [Caller(server.port, random.Random(f"{seed} {number}"), texts) for number in range(clients)]
    await asyncio.gather(*(_call(caller, turns, met, server) for caller in callers))
    met.seconds = time.perf_counter() - started
    await asyncio.sleep(SETTLE)
    met.memory[requests] = server.memory()
    return met


def measure(server: serving.Server, options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of one server, and how memory grew in those after the first."""
    kinds = options.only or list(KINDS)
    ready, rounds = server.memory(), []
    for number in range(options.rounds):
        known = {"requests": options.requests, "clients": options.clients, "seed": number}
        rounds.append(asyncio.run(load(server, kinds, **known)))
        shown = " ".join(f"{size / 1e6:.0f}" for size in rounds[-1].memory.values())
        print(f"round {number + 1}: {rounds[-1].seconds:.0f} s, MB {shown}; faults {dict(rounds[-1].faults)}", flush=True)
    ends = [met.memory[options.requests] for met in rounds]
    growth = [(after - before) / 1e6 / (options.requests / 1000) for before, after in itertools.pairwise(ends)]
    faults = sum((met.faults for met in rounds), Counter[str]())
    holds = not faults and all(one < MOST_GROWTH for one in growth)
    print(f"MB for 1,000 requests after the first round: {[round(one, 2) for one in growth]}: {holds}", flush=True)
    return {
        "kinds": kinds,
        "requests_of_a_round": options.requests,
        "clients": options.clients,
        "memory_when_ready": round(ready / 1e6, 1),
        "rounds": [met.as_dict() for met in rounds],
        "mb_for_1000_requests": [round(one, 3) for one in growth],
        "bar": MOST_GROWTH,
        "holds": holds,
    }


def fine_tuned(folder: Path) -> str:
    """A classifier that is made in seconds."""
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
    keep(options.out, result)
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
