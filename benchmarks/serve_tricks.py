"""What each optimisation of the server is worth: a server with all of them beside servers that lack one.

    python benchmarks/serve_tricks.py [--rounds 10] [--seconds 3] [--only NAME ...] [--out benchmarks/results/serve_tricks.json]

The models are tiny (bert-mini as a classifier, gpt2-mini as a writer), so that the time of the HTTP layer shows. All servers
run at once and wait; in each round the pair of each optimisation is loaded one after the other, in an order that alternates,
with two loads: `predict` (--clients connections, one text a request) and `stream` (8 connections, 16 tokens, each an event).
The figure is the median over the rounds of answers a second with it, divided by those without it; over 1.05 it pays for
itself.

coalescing  headers and body of a response, and events of one turn of the loop, in one write (http/write_coalescing.py)
nodelay     TCP_NODELAY, which asyncio sets where the socket names its protocol (http/address.py)
tokenizing  a thread that tokenizes while another computes (batching/batcher.py)
linger      waiting for the rows of clients that were answered together (batching/queue.py)
loading     loading the model in a thread that ends, with OpenMP's helpers (workflow/_serve.py)
freeze      gc.freeze, so that no garbage collection visits the models (server/process.py)
"""

import argparse
import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serving
from serving import closed_loop, json_request, median, mixed_texts, running, save_result

BAR = 1.05
STREAMS, TOKENS = 8, 16
ALL = "all"


# ---- a server without one of them


def without_coalescing() -> None:
    """Each write goes to the socket at once."""
    from hftool.server.http import slow_clients
    from hftool.server.http.write_coalescing import CoalescingTransport

    class Direct(CoalescingTransport):
        def write(self, data: bytes) -> None:
            self._transport.write(data)

    slow_clients.CoalescingTransport = Direct  # type: ignore[misc]


def without_nodelay() -> None:
    """A listening socket that does not name its protocol, so that asyncio leaves Nagle's algorithm on."""
    from hftool.workflow import _serve

    def bind(host: str, port: int) -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
        listening.setblocking(False)
        return listening

    _serve.bind = bind  # type: ignore[assignment]


def without_tokenizing() -> None:
    """The computing thread tokenizes what has come before each batch."""
    from hftool.server.batching.batcher import Batcher
    from hftool.server.batching.execution import features_of

    def idle(self: Any, pair: Any) -> None:
        self._stopping.wait()

    def compute(self: Any, pair: Any) -> None:
        self._warm_up(pair)
        queue = self._queue
        while not self._stopping.is_set():
            if queue._untokenized or not queue._tokenized:
                if not (rows := queue.next_untokenized(pair.tokenizing)):
                    return
                features = features_of(rows[0].key.predictor.head, [row.row for row in rows])
                queue.put_tokenized(pair.tokenizing, zip(rows, features, strict=True))
            elif batch := queue.next_batch(pair.computing):
                self._compute_batch(pair.computing, batch)

    Batcher._tokenize, Batcher._compute = idle, compute  # type: ignore[method-assign]


def without_linger() -> None:
    """A batch begins as soon as a row is there."""
    from hftool.server.batching import queue

    queue.MAX_LINGER = 0.0


def without_loading() -> None:
    """The model is loaded in the main thread, whose OpenMP helpers stay."""
    from hftool.workflow import _serve
    from hftool.workflow._load import load_resolved, trained

    def load(source: Any, device: str, precision: str, progress: Any) -> Any:
        return trained(load_resolved(source, head=None, device=device, precision=precision, progress=progress), None)

    _serve._load = load


def without_freeze() -> None:
    """The garbage collector visits the models."""
    import gc

    gc.freeze = lambda: None


TRICKS: Mapping[str, Callable[[], None]] = {
    "coalescing": without_coalescing,
    "nodelay": without_nodelay,
    "tokenizing": without_tokenizing,
    "linger": without_linger,
    "loading": without_loading,
    "freeze": without_freeze,
}


def serve_without(trick: str, model: str, port: int) -> None:
    """Serve the classifier and the writer without one optimisation, or with all."""
    from hftool import workflow

    if trick != ALL:
        TRICKS[trick]()
    workflow.serve([f"film={model}", "writer=gpt2-mini"], port=port, offline=True)


# ---- the measurement


@dataclass(frozen=True)
class Sample:
    """What a server did under a load: answers a second, and seconds of processor time for an answer."""

    speed: float
    cost: float


Pairs = list[tuple[Sample, Sample]]  # with an optimisation, and without it


def sample(server: serving.Server, messages: list[bytes], *, clients: int, seconds: float) -> Sample:
    """Load a server. Anything but the status 200 ends the benchmark."""
    before = server.cpu_seconds()
    load = asyncio.run(closed_loop(server.port, messages, clients=clients, seconds=seconds))
    if set(load.statuses) != {200} or load.resets:
        sys.exit(f"{server.name}: {load.as_dict()}")
    return Sample(load.answered_per_second, (server.cpu_seconds() - before) / load.statuses[200])


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """The ratios of each optimisation under each load."""
    names = options.only or list(TRICKS)
    prompt = {"model": "writer", "prompt": "Once upon a time", "max_tokens": TOKENS, "temperature": 0, "stream": True}
    loads = {
        "predict": ([json_request("/models/film/predict", {"inputs": text}) for text in mixed_texts(500)], options.clients),
        "stream": ([json_request("/v1/completions", prompt)], STREAMS),
    }
    found: dict[str, Pairs] = {f"{name}/{load}": [] for name in names for load in loads}
    with contextlib.ExitStack() as stack:
        servers = {}
        for arm in (ALL, *names):
            command = [sys.executable, str(Path(__file__).resolve()), model, "--without", arm, "--port", "{port}"]
            servers[arm] = stack.enter_context(running(arm, command, ready="/readyz"))
            for messages, clients in loads.values():
                sample(servers[arm], messages, clients=clients, seconds=1.0)  # warm
        for number in range(options.rounds):
            for name in names:
                for load, (messages, clients) in loads.items():
                    order = (ALL, name) if number % 2 == 0 else (name, ALL)
                    pair = {arm: sample(servers[arm], messages, clients=clients, seconds=options.seconds) for arm in order}
                    found[f"{name}/{load}"].append((pair[ALL], pair[name]))
            ratios = ", ".join(f"{label} {pairs[-1][0].speed / pairs[-1][1].speed:.3f}" for label, pairs in found.items())
            print(f"round {number + 1}: {ratios}", flush=True)
    return {label: summary(pairs) for label, pairs in found.items()}


def summary(pairs: Pairs) -> dict[str, Any]:
    """Speeds with and without it, and the medians of the ratios: over 1 it is faster, or cheaper, with it."""
    faster = median([with_it.speed / without.speed for with_it, without in pairs])
    return {
        "answers_per_second_with": [round(with_it.speed, 1) for with_it, _ in pairs],
        "answers_per_second_without": [round(without.speed, 1) for _, without in pairs],
        "times_the_speed": round(faster, 3),
        "times_less_processor_time": round(median([without.cost / with_it.cost for with_it, without in pairs]), 3),
        "pays": faster >= BAR,
    }


def tiny_classifier() -> str:
    """A bert-mini fine-tuned for a few steps."""
    from hftool import workflow

    folder = Path(tempfile.mkdtemp(prefix="serve-tricks-"))
    workflow.finetune("bert-mini", "sst2-mini", config={"max_steps": 10}, out=folder / "run", offline=True)
    return str(folder / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="RUN", help="a classifier; by default a bert-mini is fine-tuned")
    parser.add_argument("--only", nargs="*", choices=list(TRICKS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--out")
    parser.add_argument("--without", choices=(ALL, *TRICKS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without:
        serve_without(options.without, options.model, options.port)
        return
    serving.stop_servers_on_sigterm()
    model = options.model or tiny_classifier()
    try:
        result = measure(model, options)
    finally:
        if not options.model:
            shutil.rmtree(Path(model).parent)
    for label, found in result.items():
        cost = f"processor time {found['times_less_processor_time']:.3f}"
        print(
            f"{label:<20}speed {found['times_the_speed']:.3f}, {cost}: {'pays' if found['pays'] else 'does not pay'}",
            flush=True,
        )
    save_result(options.out, {"bar": BAR, "rounds": options.rounds, "clients": options.clients, "optimisations": result})


if __name__ == "__main__":
    main()
