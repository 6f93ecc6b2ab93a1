"""hftool beside LitServe (a classifier) and `transformers serve` (a small GPT-2): what each does when something goes wrong.

    python benchmarks/serve_faults.py [RUN] [--only malformed slow gone poison term] [--out results/serve_faults.json]

RUN is a fine-tuned classifier; without it a MiniLM is fine-tuned on sst2-mini first (extra [offline]). The GPT-2 is gpt2-mini.
Every server gets the same faults, and is as it comes: no option but those that name the model and the port. Needs litserve and
transformers[serving].

malformed  18 requests that are wrong, as truncated JSON, bytes that are no UTF-8, 100,000 brackets, a zipped body, 8 MB.
           Counted: refused (4xx), failed (5xx), taken (200), closed without a word or not answered within 20 s.
slow       clients that send two bytes a second of headers, or of the body, that never read, that are idle: seconds until no
           process of the server holds the connection any more; at most --hold seconds are waited.
gone       clients that ask and hang up after 0.5 s: processor seconds that the server takes, as a share of those that it takes
           for as many that wait for their answers; in both without what as many requests to its health route take.
poison     16 requests at a time, one of which is of a wrong type, or makes the model answer NaN (one embedding of the model was
           damaged for this): how many of the 15 others have the answer that they have alone.
term       SIGTERM while 32 clients ask: how many of the requests then under way were answered, seconds to the end, exit code,
           processes left behind.
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
from serving import CLOSED, Connection, Reply, Server, hftool_server, keep, mixed_texts, request, running

FAULTS = ("malformed", "slow", "gone", "poison", "term")
WRITER = Path(__file__).parent.parent / "hftool" / "assets" / "models" / "gpt2-mini"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
GOODS = [f"a {first} and {second}" for first in ("good", "bad", "warm") for second in ("long", "new", "odd", "red", "dull")]
POISONED_WORD = "film"
POISONED_FROM = 100  # GPT-2: the position from which on its embeddings are damaged


@dataclass(frozen=True)
class Arm:
    """A server with one model. key: the field of its requests that holds the text; more: the other fields."""

    name: str
    command: Sequence[str]
    ready: str
    path: str
    key: str
    more: Mapping[str, Any]
    slow_text: str

    def body(self, text: Any, **more: Any) -> bytes:
        """A request's JSON."""
        return json.dumps({self.key: text, **self.more, **more}).encode()

    def message(self, text: Any, **more: Any) -> bytes:
        """A request as it goes over the wire."""
        return request(self.path, self.body(text, **more))

    @contextlib.contextmanager
    def started(self) -> Iterator[Server]:
        """The server, after it has answered a request."""
        with running(self.name.replace(" ", "-"), self.command, ready=self.ready, environment=OFFLINE) as server:
            first = asyncio.run(answers(server, self, ["a good day"], **short(self)))[0]
            if not isinstance(first, Reply) or first.status != 200:
                sys.exit(f"{self.name} does not answer: {first}")
            yield server


def arms(classifier: str, writer: str) -> list[Arm]:
    """The four: two servers for each of the models."""
    here = Path(__file__).parent
    long = " ".join(mixed_texts(40))[:300]  # not longer than a model that was trained on sentences reads
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
            hftool_server(f"writer={writer}"),
            "/readyz",
            "/v1/completions",
            "prompt",
            {"model": "writer", **writing},
            "It was a",
        ),
        Arm(
            "transformers serve, GPT-2",
            [str(venv / "transformers"), "serve", writer, "--device", "cpu", "--host", serving.HOST, "--port", "{port}"],
            "/health",
            "/v1/completions",
            "prompt",
            {"model": writer, **writing},
            "It was a",
        ),
    ]


def plain_folder(model: str) -> str:
    """The folder of the model itself: a run folder holds it as `model`."""
    inner = Path(model) / "model"
    return str(inner if inner.is_dir() else model)


# ---- malformed


def wrong_requests(arm: Arm) -> dict[str, bytes]:
    """Requests that no server should take, by what is wrong with them."""
    key, path = arm.key, arm.path
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in arm.more.items())

    def text(words: str) -> bytes:
        return request(path, words.encode())

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
    """Each wrong request on a connection of its own, one after the other."""

    async def all_of(server: Server) -> dict[str, str]:
        met = {}
        for name, message in wrong_requests(arm).items():
            try:
                met[name] = str((await Connection(server.port).ask(message, 20)).status)
            except CLOSED:
                met[name] = "closed"
            except TimeoutError:
                met[name] = "no answer in 20 s"
        return met

    with arm.started() as server:
        met = asyncio.run(all_of(server))
        still = asyncio.run(answers(server, arm, ["a good day"]))
    kinds = Counter({"4": "refused", "5": "failed", "2": "taken"}.get(status[0], "silent") for status in met.values())
    shown = (
        f"{kinds['refused']} of {len(met)} refused, {kinds['failed']} failed, {kinds['taken']} taken, {kinds['silent']} silent"
    )
    return {"shown": shown, "met": met, "answers_afterwards": isinstance(still[0], Reply) and still[0].status == 200}


async def answers(server: Server, arm: Arm, texts: Sequence[Any], **more: Any) -> list[Reply | BaseException]:
    """The texts asked at the same time, each on a connection of its own."""
    return await asyncio.gather(
        *(Connection(server.port).ask(arm.message(text, **more), 180) for text in texts), return_exceptions=True
    )


# ---- slow


def slow(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """The four slow clients at the same time."""
    with arm.started() as server:
        kinds, starts = {}, {}
        for kind in ("idle", "reading", "headers", "body"):
            kinds[kind] = begun(kind, server, arm)
            starts[kind] = time.monotonic()
        closed = dict.fromkeys(kinds, float("inf"))
        ports = {kind: line.getsockname()[1] for kind, line in kinds.items()}
        end, seen = time.monotonic() + options.hold, set()  # seen: taken by the server, which on a busy machine takes a while
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
    words = {kind: f"{seconds:.0f} s" if seconds < options.hold else "never" for kind, seconds in closed.items()}
    shown = "closed after: " + ", ".join(f"{kind} {word}" for kind, word in words.items())
    return {
        "shown": shown,
        "held_for": options.hold,
        "seconds": {k: v if v < options.hold else None for k, v in closed.items()},
    }


def connections(process: psutil.Process) -> list[Any]:
    """The connections that a process has open."""
    try:
        return [c for c in process.net_connections("tcp") if c.status in ("ESTABLISHED", "CLOSE_WAIT")]
    except psutil.Error:
        return []


def begun(kind: str, server: Server, arm: Arm) -> socket.socket:
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
        line.sendall(arm.message("a good day", **short(arm)))
        line.settimeout(60)
        line.recv(65536)
    else:  # one request behind the other, until the server takes no more: its replies are never read
        line.setblocking(False)
        document = request("/openapi.json", b"", method="GET")
        with contextlib.suppress(OSError):
            for _ in range(200_000):
                line.send(document)
    return line


# ---- gone


def gone(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds for clients that wait, and for clients that do not; without those that as many requests take for which
    there is nothing to compute."""
    count = options.gone // 4 if "max_tokens" in arm.more else options.gone

    met: Counter[str] = Counter()

    async def wait(server: Server) -> None:
        replies = await answers(server, arm, [f"{number} {arm.slow_text}" for number in range(count)])
        met.update(str(reply.status) if isinstance(reply, Reply) else type(reply).__name__ for reply in replies)

    async def hang_up(server: Server) -> None:
        lines = [await asyncio.open_connection(serving.HOST, server.port) for _ in range(count)]
        for number, (_, writer) in enumerate(lines):
            writer.write(arm.message(f"{number} {arm.slow_text}"))
        await asyncio.sleep(0.5)  # so that the server has read them
        for _, writer in lines:
            writer.close()

    async def nothing(server: Server) -> None:
        await asyncio.gather(*(Connection(server.port).ask(request(arm.ready, b"", method="GET")) for _ in range(count)))

    with arm.started() as server:
        time.sleep(2)
        idle = rate(server, 4.0)
        seconds = [worked(server, job, idle) for job in (nothing, wait, hang_up)]
    empty, waited, left = seconds
    share = max(0.0, left - empty) / max(waited - empty, 1e-3)
    return {
        "shown": f"{share:.0%} of the work is done for nobody",
        "clients": count,
        "met_by_those_who_wait": dict(met),
        "cpu_seconds_a_second_idle": idle,
        "cpu_seconds_of_http": empty,
        "cpu_seconds_answered": waited,
        "cpu_seconds_gone": left,
        "share": share,
    }


def worked(server: Server, job: Callable[[Server], Coroutine[Any, Any, None]], idle: float) -> float:
    """Processor seconds that the server takes for a job, until it does nothing again."""
    started, before = time.monotonic(), server.cpu_seconds()
    asyncio.run(job(server))
    quiet(server, idle)
    return server.cpu_seconds() - before - idle * (time.monotonic() - started)


def rate(server: Server, seconds: float = 1.0) -> float:
    """Processor seconds that it takes, a second."""
    before, started = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - started)


def quiet(server: Server, idle: float, within: float = 60.0) -> None:
    """Wait until the server has done no more than when idle for 2 s."""
    end, still = time.monotonic() + within, 0
    while time.monotonic() < end and still < 2:
        still = still + 1 if rate(server) < 1.5 * idle + 0.05 else 0


# ---- poison


def poison(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """15 good requests and a bad one at the same time, again and again."""
    goods = [f"{text} day" for text in GOODS]
    bads = {"a wrong type": 5, "NaN": f"a {POISONED_WORD} " * POISONED_FROM}
    more = short(arm)
    made: dict[str, Any] = {}
    with arm.started() as server:
        alone = [outcome(asyncio.run(answers(server, arm, [text], **more))[0]) for text in goods]
        for name, bad in bads.items():
            right, met = 0, Counter[str]()
            for _ in range(options.rounds):
                *others, last = asyncio.run(answers(server, arm, [*goods, bad], **more))
                right += sum(same(outcome(reply), want) for reply, want in zip(others, alone, strict=True))
                met[str(last.status) if isinstance(last, Reply) else type(last).__name__] += 1
            made[name] = {"neighbours_right": right, "of": len(goods) * options.rounds, "poison_met": dict(met)}
        ready = serving.status_of(server.port, arm.ready)
    shown = "; ".join(f"{name}: {m['neighbours_right']} of {m['of']} neighbours right" for name, m in made.items())
    return {"shown": shown, **made, "alive_afterwards": ready == 200}


def outcome(reply: Reply | BaseException) -> Any:
    """What a reply says, without what differs from one to the next."""
    if not isinstance(reply, Reply) or reply.status != 200:
        return None
    content = reply.content()
    if isinstance(content, dict):
        return [choice.get("text") for choice in content.get("choices", [])]
    return content


def same(one: Any, other: Any) -> bool:
    """Equal but for what a batch does to the last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-4
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one is not None and bool(one == other)


@contextlib.contextmanager
def poisoned(model: str) -> Iterator[str]:
    """A copy of a model, one embedding of which is no number: the one of a word, or for GPT-2, whose words are its outputs,
    too, those of the later positions."""
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
    """SIGTERM to the first process while clients ask."""
    with arm.started() as server:
        tree = server.tree()
        met = asyncio.run(under_load(server, arm, options.hold + 30))
        time.sleep(1)
        left = [process.pid for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        if met["exit_code"] is None:
            left.remove(server.process.pid)  # not ended, but not left behind either
        for pid in left:  # ours: they were children of the server that we have started
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
    word = f"in {met['seconds']:.1f} s with {met['exit_code']}" if met["exit_code"] is not None else "not at all"
    shown = f"{met['answered']} of {met['under_way']} answered, ended {word}, {len(left)} processes left"
    return {"shown": shown, **met, "left": len(left)}


async def under_load(server: Server, arm: Arm, within: float, clients: int = 32) -> dict[str, Any]:
    """32 clients, SIGTERM after 3 s; what became of what was under way then, and when the process ended."""
    signalled: list[float] = []
    under_way: Counter[str] = Counter()
    later: Counter[str] = Counter()

    async def one(number: int) -> None:
        connection = Connection(server.port)
        while True:
            sent = time.monotonic()
            before = not signalled
            try:
                reply = await connection.ask(arm.message(f"{number} a good day", **short(arm)), 60)
                word = str(reply.status)
            except (*CLOSED, TimeoutError) as error:
                word = type(error).__name__
            if signalled and before and sent < signalled[0]:
                under_way[word] += 1
            elif signalled:
                later[word] += 1
            if signalled and word != "200":
                connection.close()
                return
            if signalled and time.monotonic() - signalled[0] > 10:
                return

    async def stop() -> tuple[int | None, float]:
        await asyncio.sleep(3)
        signalled.append(time.monotonic())
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None and time.monotonic() - signalled[0] < within:
            await asyncio.sleep(0.02)
        return server.process.poll(), time.monotonic() - signalled[0]

    (code, seconds), *_ = await asyncio.gather(stop(), *(one(number) for number in range(clients)))
    return {
        "under_way": sum(under_way.values()),
        "answered": under_way["200"],
        "met": dict(under_way),
        "met_later": dict(later),
        "exit_code": code,
        "seconds": seconds,
    }


def short(arm: Arm) -> dict[str, Any]:
    """For those that write: not more than this."""
    return {"max_tokens": 16} if "max_tokens" in arm.more else {}


# ---- all of it


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One line a fault and server."""
    lines = []
    for fault, by_arm in results.items():
        lines += [f"{fault:<11}{name:<27}{made['shown']}" for name, made in by_arm.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="RUN")
    parser.add_argument("--only", nargs="*", default=FAULTS, choices=FAULTS)
    parser.add_argument("--servers", nargs="*", help="only those whose names hold one of these words")
    parser.add_argument("--hold", type=float, default=75.0, help="seconds that a slow client is watched")
    parser.add_argument("--rounds", type=int, default=10, help="of poison")
    parser.add_argument("--gone", type=int, default=400, help="clients that hang up; of GPT-2 a quarter")
    parser.add_argument("--out")
    options = parser.parse_args()
    serving.stop_servers_on_sigterm()
    faults: dict[str, Callable[[Arm, argparse.Namespace], dict[str, Any]]] = {
        "malformed": malformed,
        "slow": slow,
        "gone": gone,
        "poison": poison,
        "term": term,
    }
    with contextlib.ExitStack() as stack:
        model = options.model
        if model is None:
            from serve_load import fine_tuned

            model = fine_tuned()
            stack.callback(shutil.rmtree, Path(model).parent)
        bad = [stack.enter_context(poisoned(one)) for one in (model, str(WRITER))] if "poison" in options.only else []
        results: dict[str, dict[str, Any]] = {}
        for fault in options.only:
            served = arms(*bad) if fault == "poison" else arms(model, str(WRITER))
            for arm in served:
                if options.servers and not any(word in arm.name for word in options.servers):
                    continue
                results.setdefault(fault, {})[arm.name] = faults[fault](arm, options)
                print(f"{fault:<11}{arm.name:<27}{results[fault][arm.name]['shown']}", flush=True)
    keep(options.out, {"faults": results})
    print("\n" + table(results))


if __name__ == "__main__":
    main()
