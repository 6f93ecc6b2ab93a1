"""What each optimisation of the server is worth: a server with all of them beside a server that lacks one.

    python benchmarks/serve_tricks.py [--rounds 4] [--seconds 3] [--only NAME ...] [--out benchmarks/results/serve_tricks.json]

In each round both servers start anew, since the speed of two processes of one program differs by up to 20 %, and are loaded
one after the other, in an order that alternates. The models are tiny, so that the time of the server itself shows. Each
optimisation has its own load:

predict  --clients connections, each a text a request, to a classifier (bert-mini)
stream   8 connections, each 16 tokens a request, each an event, from a writer (gpt2-mini)
exit     SIGTERM to an idle server with both, until its process has ended

The figure is the median over the rounds of answers a second (of exits: one by the seconds) with it, divided by that without it;
at 1.05 it pays for itself. Processor time is for information. Results of further optimisations are added to those in --out.

nodelay  TCP_NODELAY, which asyncio sets where the socket names its protocol (http/address.py)
log      lines of the log in one write each 50 ms, by a thread that is not woken for each (http/log_writer.py)
loading  loading the model in a thread that ends, with OpenMP's helpers (workflow/_serve.py)
freeze   gc.freeze, so that no garbage collection visits the models (server/process.py)
"""

import argparse
import asyncio
import contextlib
import json
import logging
import queue
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serving
from serving import Server, closed_loop, json_request, median, mixed_texts, running, save_result

BAR = 1.05
STREAMS, TOKENS = 8, 16
ALL = "all"


# ---- a server without one of them


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


def without_log() -> None:
    """A thread is woken for each line of the log, and writes it."""
    from logging.handlers import QueueHandler, QueueListener

    from hftool.server.http import log_writer

    @contextlib.contextmanager
    def log_to_stderr(*, quiet: bool) -> Iterator[None]:
        waiting: queue.Queue[Any] = queue.Queue()
        log, listener = logging.getLogger("hftool"), QueueListener(waiting, logging.StreamHandler())
        log.setLevel(logging.WARNING if quiet else logging.INFO)
        log.addHandler(QueueHandler(waiting))
        listener.start()
        yield
        listener.stop()

    log_writer.log_to_stderr = log_to_stderr


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


@dataclass(frozen=True)
class Trick:
    """An optimisation: how a server does without it, and the load on which it is measured."""

    remove: Callable[[], None]
    load: str


TRICKS = {
    "nodelay": Trick(without_nodelay, "stream"),
    "log": Trick(without_log, "predict"),
    "loading": Trick(without_loading, "predict"),
    "freeze": Trick(without_freeze, "exit"),
}


def serve_without(name: str, models: list[str], port: int) -> None:
    """Serve models without one optimisation, or with all."""
    from hftool import workflow
    from hftool.server.http import log_writer

    if name != ALL:
        TRICKS[name].remove()
    with log_writer.log_to_stderr(quiet=False):
        workflow.serve(models, port=port, offline=True)


# ---- the measurement


@dataclass(frozen=True)
class Sample:
    """What a server did under a load: answers (or exits) a second, and seconds of processor time for an answer."""

    speed: float
    cost: float = 0.0


def sample(server: Server, load: str, options: argparse.Namespace) -> Sample:
    """Load a server. Anything but the status 200 ends the benchmark."""
    if load == "exit":
        started = time.perf_counter()
        server.process.terminate()
        server.process.wait(60)
        return Sample(1 / (time.perf_counter() - started))
    if load == "predict":
        messages = [json_request("/predict", {"inputs": text}) for text in mixed_texts(500)]
    else:
        prompt = {"model": "writer", "prompt": "Once upon a time", "max_tokens": TOKENS, "temperature": 0, "stream": True}
        messages = [json_request("/v1/completions", prompt)]
    clients = options.clients if load == "predict" else STREAMS
    asyncio.run(closed_loop(server.port, messages, clients=clients, seconds=0.5))  # warm
    before = server.cpu_seconds()
    found = asyncio.run(closed_loop(server.port, messages, clients=clients, seconds=options.seconds))
    if set(found.statuses) != {200} or found.resets:
        sys.exit(f"{server.name}: {found.as_dict()}")
    return Sample(found.answered_per_second, (server.cpu_seconds() - before) / found.statuses[200])


def measure(name: str, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one optimisation."""
    load = TRICKS[name].load
    models = {"stream": ["writer=gpt2-mini"], "exit": [f"film={model}", "writer=gpt2-mini"]}.get(load, [f"film={model}"])
    pairs: list[dict[str, Sample]] = []
    for number in range(options.rounds):
        order = (ALL, name) if number % 2 == 0 else (name, ALL)
        with contextlib.ExitStack() as stack:
            servers = {}
            for arm in order:
                command = [sys.executable, str(Path(__file__).resolve()), *models, "--without", arm, "--port", "{port}"]
                servers[arm] = stack.enter_context(running(arm, command, ready="/readyz"))
            pairs.append({arm: sample(servers[arm], load, options) for arm in order})
    speeds = {arm: [round(pair[arm].speed, 3) for pair in pairs] for arm in (ALL, name)}
    costs = [pair[name].cost / pair[ALL].cost for pair in pairs if pair[ALL].cost]
    faster = median([pair[ALL].speed / pair[name].speed for pair in pairs])
    found = {
        "load": load,
        "a_second_with": speeds[ALL],
        "a_second_without": speeds[name],
        "times_the_speed": round(faster, 3),
        "times_less_processor_time": round(median(costs), 3) if costs else None,
        "pays": faster >= BAR,
    }
    print(f"{name:<12}{load:<9}{found}", flush=True)
    return found


@contextlib.contextmanager
def tiny_classifier() -> Iterator[str]:
    """A bert-mini fine-tuned for a few steps, in a temporary folder."""
    from hftool import workflow

    with tempfile.TemporaryDirectory(prefix="serve-tricks-") as folder:
        workflow.finetune("bert-mini", "sst2-mini", config={"max_steps": 10}, out=Path(folder) / "run", offline=True)
        yield str(Path(folder) / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="RUN", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", choices=list(TRICKS), default=list(TRICKS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--out")
    parser.add_argument("--without", choices=(ALL, *TRICKS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without:
        serve_without(options.without, options.models, options.port)
        return
    serving.stop_servers_on_sigterm()
    known: Mapping[str, Any] = {}
    if options.out and Path(options.out).exists():
        known = json.loads(Path(options.out).read_text(encoding="utf-8"))["optimisations"]
    found = dict(known)
    with tiny_classifier() as model:
        for name in options.only:
            found[name] = measure(name, model, options)
            result = {name: found[name] for name in TRICKS if name in found}
            save_result(options.out, {"bar": BAR, "clients": options.clients, "optimisations": result})


if __name__ == "__main__":
    main()
