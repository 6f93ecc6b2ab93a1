"""Behaviour under faults: hftool, LitServe (a classifier) and `transformers serve` (a small GPT-2).

    python benchmarks/serve_faults.py [RUN] [--only malformed slow disconnected poison term] [--out results/serve_faults.json]

RUN is a fine-tuned classifier; without it a MiniLM is fine-tuned on sst2-mini first (extra [offline]). The GPT-2 is gpt2-mini.
Every server gets the same faults and runs with its defaults, except for the model and the port. Needs litserve and
transformers[serving].

malformed     18 invalid requests, such as truncated JSON, invalid UTF-8, 100,000 brackets, a compressed body, 8 MB.
              Counted: refused (4xx), failed (5xx), accepted (200), closed without a response or not answered within 20 s.
slow          clients that send two bytes per second of headers or body, that never read, or that are idle: seconds until no
              process of the server holds the connection any more, up to --hold seconds.
disconnected  clients that send a request and disconnect after 0.5 s: CPU seconds of the server, as a share of those for the
              same number of clients that wait, both minus the CPU seconds of as many requests to its health route.
poison        16 concurrent requests, one of which has a wrong type or makes the model return NaN (one embedding of the model
              is damaged for this): how many of the 15 others get the same answer as alone.
term          SIGTERM while 32 clients send requests: how many requests in flight were answered, seconds until exit, exit
              code, processes left behind.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import serving
from serving import CLOSED, Connection, Reply, Server, hftool_server, mixed_texts, request, running, save_result

FAULTS = ("malformed", "slow", "disconnected", "poison", "term")
WRITER = Path(__file__).parent.parent / "hftool" / "assets" / "models" / "gpt2-mini"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
GOODS = [f"a {first} and {second}" for first in ("good", "bad", "warm") for second in ("long", "new", "odd", "red", "dull")]
POISONED_WORD = "film"
POISONED_FROM = 100  # GPT-2: position embeddings are damaged from this position on


@dataclass(frozen=True)
class Arm:
    """A server with one model. key: request field of the text; more: the other request fields."""

    name: str
    command: Sequence[str]
    ready: str
    path: str
    key: str
    more: Mapping[str, Any]
    slow_text: str

    def body(self, text: Any, **more: Any) -> bytes:
        """The JSON body of a request."""
        return json.dumps({self.key: text, **self.more, **more}).encode()

    def message(self, text: Any, **more: Any) -> bytes:
        """The bytes of a request."""
        return request(self.path, self.body(text, **more))

    @contextlib.contextmanager
    def started(self) -> Iterator[Server]:
        """The running server, after its first answer."""
        with running(self.name.replace(" ", "-"), self.command, ready=self.ready, environment=OFFLINE) as server:
            first = asyncio.run(answers(server, self, ["a good day"], **token_limit(self)))[0]
            if not isinstance(first, Reply) or first.status != 200:
                sys.exit(f"{self.name} does not answer: {first}")
            yield server


def arms(classifier: str, generator: str) -> list[Arm]:
    """The four arms: two servers for each of the two models."""
    here = Path(__file__).parent
    long = " ".join(mixed_texts(40))[:300]  # within the maximum length of a model trained on sentences
    writing = {"max_tokens": 100, "temperature": 0}
    venv = Path(sys.executable).parent
    return [
        Arm("hftool, classifier", hftool_server(classifier), "/readyz", "/predict", "inputs", {}, long),
        Arm(
            "LitServe, classifier",
            [sys.executable, str(here / "serve_faults_litserve.py"), plain_folder(classifier), "{port}"],
            "/health",
            "/predict",
            "inputs",
            {},
            long,
        ),
        Arm(
            "hftool, GPT-2",
            hftool_server(f"writer={generator}"),
            "/readyz",
            "/v1/completions",
            "prompt",
            {"model": "writer", **writing},
            "It was a",
        ),
        Arm(
            "transformers serve, GPT-2",
            [str(venv / "transformers"), "serve", generator, "--device", "cpu", "--host", serving.HOST, "--port", "{port}"],
            "/health",
            "/v1/completions",
            "prompt",
            {"model": generator, **writing},
            "It was a",
        ),
    ]


def plain_folder(model: str) -> str:
    """The model folder, which in a run folder is `model`."""
    inner = Path(model) / "model"
    return str(inner if inner.is_dir() else model)


# ---- malformed


def invalid_requests(arm: Arm) -> dict[str, bytes]:
    """Requests that a server should refuse, by their fault."""
    key, path = arm.key, arm.path
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in arm.more.items())

    def text(labels: str) -> bytes:
        return request(path, labels.encode())

    good = arm.body("a text")
    return {
        "truncated": text(f'{{"{key}": "a tex'),
        "no JSON": text("hello"),
        "empty body": text(""),
        "no UTF-8": request(path, f'{{"{key}": "'.encode() + b'\xff\xfe"' + f"{rest}}}".encode()),
        "NaN": text(f'{{"{key}": NaN{rest}}}'),
        "Infinity": text(f'{{"{key}": [Infinity]{rest}}}'),
        "1e400": text(f'{{"{key}": 1e400{rest}}}'),
        "a key twice": text(f'{{"{key}": "a", "{key}": "b"{rest}}}'),
        "100,000 brackets": text(f'{{"{key}": ' + "[" * 100_000 + "]" * 100_000 + f"{rest}}}"),
        "a number of 5,000 digits": text(f'{{"{key}": {"9" * 5000}{rest}}}'),
        "a number": text(f'{{"{key}": 5{rest}}}'),
        "null": text(f'{{"{key}": null{rest}}}'),
        "an object": text(f'{{"{key}": {{"a": "b"}}{rest}}}'),
        "no text": text("{}"),
        "a list": text("[]"),
        "text/plain": request(path, good, {"Content-Type": "text/plain"}),
        "zipped": request(path, gzip.compress(good), {"Content-Encoding": "gzip"}),
        "8 MB": request(path, arm.body("a " * 4_000_000)),
    }


def malformed(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Sends each invalid request on a separate connection, one after the other."""

    async def all_of(server: Server) -> dict[str, str]:
        outcomes = {}
        for name, message in invalid_requests(arm).items():
            try:
                outcomes[name] = str((await Connection(server.port).ask(message, 20)).status)
            except CLOSED:
                outcomes[name] = "closed"
            except TimeoutError:
                outcomes[name] = "no answer in 20 s"
        return outcomes

    with arm.started() as server:
        outcomes = asyncio.run(all_of(server))
        still = asyncio.run(answers(server, arm, ["a good day"]))
    kinds = Counter({"4": "refused", "5": "failed", "2": "accepted"}.get(status[0], "silent") for status in outcomes.values())
    counts = (f"{kinds[kind]} {kind}" for kind in ("failed", "accepted", "silent"))
    summary = f"{kinds['refused']} of {len(outcomes)} refused, {', '.join(counts)}"
    return {"shown": summary, "met": outcomes, "answers_afterwards": isinstance(still[0], Reply) and still[0].status == 200}


async def answers(server: Server, arm: Arm, texts: Sequence[Any], **more: Any) -> list[Reply | BaseException]:
    """Sends the texts concurrently, each on a separate connection."""
    return await asyncio.gather(
        *(Connection(server.port).ask(arm.message(text, **more), 180) for text in texts), return_exceptions=True
    )


# ---- slow


def slow(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the four slow clients at the same time."""
    with arm.started() as server:
        kinds, starts = {}, {}
        for kind in ("idle", "reading", "headers", "body"):
            kinds[kind] = open_slow_client(kind, server, arm)
            starts[kind] = time.monotonic()
        closed = dict.fromkeys(kinds, float("inf"))
        ports = {kind: line.getsockname()[1] for kind, line in kinds.items()}
        end, seen = (
            time.monotonic() + options.hold,
            set(),
        )  # seen: accepted by the server, which may take a while on a busy machine
        while time.monotonic() < end and float("inf") in closed.values():
            held = {c.raddr.port for p in server.tree() for c in connections(p) if c.raddr}
            for kind, line in kinds.items():
                if ports[kind] in held:
                    seen.add(kind)
                if kind in seen and ports[kind] not in held:
                    closed[kind] = min(closed[kind], time.monotonic() - starts[kind])
                elif kind in ("headers", "body"):
                    with contextlib.suppress(OSError):
                        line.send(b"a")
            time.sleep(0.5)
        for line in kinds.values():
            line.close()
    labels = {kind: f"{seconds:.0f} s" if seconds < options.hold else "never" for kind, seconds in closed.items()}
    summary = "closed after: " + ", ".join(f"{kind} {label}" for kind, label in labels.items())
    return {
        "shown": summary,
        "held_for": options.hold,
        "seconds": {k: v if v < options.hold else None for k, v in closed.items()},
    }


def connections(process: psutil.Process) -> list[Any]:
    """The open connections of a process."""
    try:
        return [c for c in process.net_connections("tcp") if c.status in ("ESTABLISHED", "CLOSE_WAIT")]
    except psutil.Error:
        return []


def open_slow_client(kind: str, server: Server, arm: Arm) -> socket.socket:
    """A slow client that has sent its first bytes."""
    line = socket.socket()
    if kind == "reading":
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    line.connect((serving.HOST, server.port))
    whole = arm.message("a good day")
    head, _, _ = whole.partition(b"\r\n\r\n")
    if kind == "headers":
        line.sendall(b"POST " + arm.path.encode() + b" HTTP/1.1\r\nHost: a\r\nX-Long: ")
    elif kind == "body":
        line.sendall(head.replace(b"Content-Length: ", b"Content-Length: 9") + b"\r\n\r\n{")
    elif kind == "idle":
        line.sendall(arm.message("a good day", **token_limit(arm)))
        line.settimeout(60)
        line.recv(65536)
    else:  # pipelined requests until the server stops reading; the responses are never read
        line.setblocking(False)
        document = request("/openapi.json", b"", method="GET")
        with contextlib.suppress(OSError):
            for _ in range(200_000):
                line.send(document)
    return line


# ---- disconnected clients


def disconnected(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds for clients that wait and for clients that disconnect, minus those of as many requests that need
    no forward pass."""
    count = options.disconnects // 4 if "max_tokens" in arm.more else options.disconnects

    outcomes: Counter[str] = Counter()

    async def wait(server: Server) -> None:
        replies = await answers(server, arm, [f"{number} {arm.slow_text}" for number in range(count)])
        outcomes.update(str(reply.status) if isinstance(reply, Reply) else type(reply).__name__ for reply in replies)

    async def hang_up(server: Server) -> None:
        lines = [await asyncio.open_connection(serving.HOST, server.port) for _ in range(count)]
        for number, (_, generator) in enumerate(lines):
            generator.write(arm.message(f"{number} {arm.slow_text}"))
        await asyncio.sleep(0.5)  # gives the server time to read them
        for _, generator in lines:
            generator.close()

    async def health(server: Server) -> None:
        await asyncio.gather(*(Connection(server.port).ask(request(arm.ready, b"", method="GET")) for _ in range(count)))

    with arm.started() as server:
        time.sleep(2)
        idle = rate(server, 4.0)
        seconds = [cpu_seconds_of(server, job, idle) for job in (health, wait, hang_up)]
    empty, waited, remaining = seconds
    share = max(0.0, remaining - empty) / max(waited - empty, 1e-3)
    return {
        "shown": f"{share:.0%} of the work is done for disconnected clients",
        "clients": count,
        "met_by_those_who_wait": dict(outcomes),
        "cpu_seconds_a_second_idle": idle,
        "cpu_seconds_of_http": empty,
        "cpu_seconds_answered": waited,
        "cpu_seconds_disconnected": remaining,
        "share": share,
    }


def cpu_seconds_of(server: Server, job: Callable[[Server], Coroutine[Any, Any, None]], idle: float) -> float:
    """CPU seconds of the server for a job, until it is idle again."""
    started, before = time.monotonic(), server.cpu_seconds()
    asyncio.run(job(server))
    wait_until_idle(server, idle)
    return server.cpu_seconds() - before - idle * (time.monotonic() - started)


def rate(server: Server, seconds: float = 1.0) -> float:
    """CPU seconds of the server per second."""
    before, started = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - started)


def wait_until_idle(server: Server, idle: float, within: float = 60.0) -> None:
    """Waits until the server has been idle for 2 s."""
    end, still = time.monotonic() + within, 0
    while time.monotonic() < end and still < 2:
        still = still + 1 if rate(server) < 1.5 * idle + 0.05 else 0


# ---- poison


def poison(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Sends 15 valid requests and an invalid one concurrently, repeatedly."""
    goods = [f"{text} day" for text in GOODS]
    bads = {"a wrong type": 5, "NaN": f"a {POISONED_WORD} " * POISONED_FROM}
    more = token_limit(arm)
    found: dict[str, Any] = {}
    with arm.started() as server:
        alone = [outcome(asyncio.run(answers(server, arm, [text], **more))[0]) for text in goods]
        for name, bad in bads.items():
            correct, outcomes = 0, Counter[str]()
            for _ in range(options.rounds):
                *others, last = asyncio.run(answers(server, arm, [*goods, bad], **more))
                correct += sum(same(outcome(reply), want) for reply, want in zip(others, alone, strict=True))
                outcomes[str(last.status) if isinstance(last, Reply) else type(last).__name__] += 1
            found[name] = {"neighbours_right": correct, "of": len(goods) * options.rounds, "poison_met": dict(outcomes)}
        ready = serving.status_of(server.port, arm.ready)
    summary = "; ".join(f"{name}: {m['neighbours_right']} of {m['of']} neighbours right" for name, m in found.items())
    return {"shown": summary, **found, "alive_afterwards": ready == 200}


def outcome(reply: Reply | BaseException) -> Any:
    """The content of a response without fields that differ between requests."""
    if not isinstance(reply, Reply) or reply.status != 200:
        return None
    content = reply.content()
    if isinstance(content, dict):
        return [choice.get("text") for choice in content.get("choices", [])]
    return content


def same(one: Any, other: Any) -> bool:
    """Equal up to rounding differences between batches."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-4
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one is not None and bool(one == other)


@contextlib.contextmanager
def damaged_copy(model: str) -> Iterator[str]:
    """A copy of a model with a NaN embedding: that of one word, or for GPT-2, whose word embeddings are tied to its outputs,
    those of the later positions."""
    from safetensors.numpy import load_file, save_file
    from transformers import AutoTokenizer

    folder = Path(tempfile.mkdtemp(prefix="serve-faults-")) / "poisoned"
    shutil.copytree(plain_folder(model), folder)
    weights = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        if name.endswith("wpe.weight"):
            values[POISONED_FROM:] = float("nan")
        if name.endswith("word_embeddings.weight"):
            values[AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(POISONED_WORD)] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with contextlib.suppress(FileNotFoundError):
        (folder / "SHA256SUMS").unlink()
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder.parent)


# ---- SIGTERM


def term(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Sends SIGTERM to the first process while clients send requests."""
    with arm.started() as server:
        tree = server.tree()
        outcomes = asyncio.run(terminate_under_load(server, arm, options.hold + 30))
        time.sleep(1)
        remaining = [process.pid for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        if outcomes["exit_code"] is None:
            remaining.remove(server.process.pid)  # still running, but not left behind
        for pid in remaining:  # children of the server started here
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
    label = (
        f"in {outcomes['seconds']:.1f} s with {outcomes['exit_code']}" if outcomes["exit_code"] is not None else "not at all"
    )
    summary = f"{outcomes['answered']} of {outcomes['under_way']} answered, ended {label}, {len(remaining)} processes left"
    return {"shown": summary, **outcomes, "left": len(remaining)}


async def terminate_under_load(server: Server, arm: Arm, within: float, clients: int = 32) -> dict[str, Any]:
    """32 clients, SIGTERM after 3 s: outcomes of the requests in flight, and the time until exit."""
    terminated: list[float] = []
    in_flight: Counter[str] = Counter()
    later: Counter[str] = Counter()

    async def one(number: int) -> None:
        connection = Connection(server.port)
        while True:
            sent = time.monotonic()
            before = not terminated
            try:
                reply = await connection.ask(arm.message(f"{number} a good day", **token_limit(arm)), 60)
                label = str(reply.status)
            except (*CLOSED, TimeoutError) as error:
                label = type(error).__name__
            if terminated and before and sent < terminated[0]:
                in_flight[label] += 1
            elif terminated:
                later[label] += 1
            if terminated and label != "200":
                connection.close()
                return
            if terminated and time.monotonic() - terminated[0] > 10:
                return

    async def stop() -> tuple[int | None, float]:
        await asyncio.sleep(3)
        terminated.append(time.monotonic())
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None and time.monotonic() - terminated[0] < within:
            await asyncio.sleep(0.02)
        return server.process.poll(), time.monotonic() - terminated[0]

    (code, seconds), *_ = await asyncio.gather(stop(), *(one(number) for number in range(clients)))
    return {
        "under_way": sum(in_flight.values()),
        "answered": in_flight["200"],
        "met": dict(in_flight),
        "met_later": dict(later),
        "exit_code": code,
        "seconds": seconds,
    }


def token_limit(arm: Arm) -> dict[str, Any]:
    """Limits the generated tokens of generation models."""
    return {"max_tokens": 16} if "max_tokens" in arm.more else {}


# ---- results


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One line per fault and server."""
    lines = []
    for fault, by_arm in results.items():
        lines += [f"{fault:<11}{name:<27}{found['shown']}" for name, found in by_arm.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="RUN")
    parser.add_argument("--only", nargs="*", default=FAULTS, choices=FAULTS)
    parser.add_argument("--servers", nargs="*", help="only servers whose names contain one of these strings")
    parser.add_argument("--hold", type=float, default=75.0, help="maximum seconds to observe a slow client")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of poison")
    parser.add_argument("--disconnects", type=int, default=400, help="clients that disconnect; a quarter of them for GPT-2")
    parser.add_argument("--out")
    options = parser.parse_args()
    serving.stop_servers_on_sigterm()
    faults: dict[str, Callable[[Arm, argparse.Namespace], dict[str, Any]]] = {
        "malformed": malformed,
        "slow": slow,
        "disconnected": disconnected,
        "poison": poison,
        "term": term,
    }
    with contextlib.ExitStack() as stack:
        model = options.model
        if model is None:
            from serve_load import fine_tuned

            model = fine_tuned()
            stack.callback(shutil.rmtree, Path(model).parent)
        bad = [stack.enter_context(damaged_copy(one)) for one in (model, str(WRITER))] if "poison" in options.only else []
        results: dict[str, dict[str, Any]] = {}
        for fault in options.only:
            served = arms(*bad) if fault == "poison" else arms(model, str(WRITER))
            for arm in served:
                if options.servers and not any(label in arm.name for label in options.servers):
                    continue
                results.setdefault(fault, {})[arm.name] = faults[fault](arm, options)
                print(f"{fault:<11}{arm.name:<27}{results[fault][arm.name]['shown']}", flush=True)
    save_result(options.out, {"faults": results})
    print("\n" + table(results))


if __name__ == "__main__":
    main()
