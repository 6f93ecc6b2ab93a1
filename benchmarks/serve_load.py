"""The server under load: many connections, comparison with an unbatched endpoint, and the overhead of the batcher.

    python benchmarks/serve_load.py [RUN] [--only flood beside batcher] [--out benchmarks/results/serve_load.json]

RUN is a fine-tuned classifier; without it a MiniLM is fine-tuned on sst2-mini first (extra [offline]). Texts are of mixed
length.

flood    200 connections for 30 s, twice: with the default queue, and with a queue of 32 rows, so that most get a 429. A
         client then waits --patience seconds, varied by 50 %; Retry-After is 1 or more.
         Bar: statuses 200 and 429 only, no connection reset, 99 % of the 429 within 50 ms. The first 2 s, in which all
         clients connect at once, are counted separately. As root, the clients have scheduling priority over the server.
beside   64 clients against hftool and against a typical FastAPI endpoint with one text per model call:
         as `def` (run in a thread pool) and as `async def`. The same model, number format, uvicorn and one process; rounds
         alternate. Bar: at least 3 times the answers per second of the faster of the two.
batcher  in one process and without HTTP: the same rows through one Predictor.answer, and through the batcher from 64 and
         from 512 submitters of one row each; and for information through HTTP from 64 clients. Rounds alternate, and each of
         them computes in a separate thread. Bar: with a full queue (512) at most 5 % more seconds.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import serving
from serving import (
    ahead,
    closed_loop,
    hftool_server,
    json_request,
    logged_milliseconds,
    median,
    mixed_texts,
    running,
    save_result,
)

PARTS = ("flood", "beside", "batcher")
ARMS = ("hftool", "fastapi-def", "fastapi-async")
MIN_SPEEDUP, MAX_OVERHEAD, MAX_MS_429 = 3.0, 0.05, 50.0
OPENING = 2.0  # seconds at the start of the flood


# ---- a typical endpoint


def serve_plain(model: str, port: int, arm: str) -> None:
    """One text per request, one request per model call."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    app = FastAPI()

    class RequestBody(BaseModel):
        inputs: str

    def classify(text: str) -> list[dict[str, Any]]:
        with torch.inference_mode():
            logits = network(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0]
        scores = logits.softmax(-1).tolist()
        return [{"label": network.config.id2label[i], "score": score} for i, score in enumerate(scores)]

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    if arm == "fastapi-def":

        @app.post("/predict")
        def predict(json_request: RequestBody) -> list[dict[str, Any]]:
            return classify(json_request.inputs)

    else:

        @app.post("/predict")
        async def predict_in_loop(json_request: RequestBody) -> list[dict[str, Any]]:
            return classify(json_request.inputs)

    uvicorn.run(app, host=serving.HOST, port=port, log_level="warning", access_log=False)


def command_of(arm: str, model: str) -> list[str]:
    """The command that starts the server of an arm."""
    if arm == "hftool":
        return hftool_server(model)
    return [sys.executable, str(Path(__file__).resolve()), model, "--arm", arm, "--port", "{port}"]


# ---- the three parts


def flood(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Many connections, with a queue for all of them and with a queue for few."""
    messages = [json_request("/predict", {"inputs": text}) for text in mixed_texts(500)]
    results = {}
    for name, extra in (("queue by default", []), ("queue of 32", ["--queue", "32"])):
        with running("hftool", hftool_server(model, options=extra), ready="/readyz") as server:
            before = server.memory()
            known = {"clients": options.connections, "patience": options.patience, "opening": OPENING}
            with ahead():
                load = asyncio.run(closed_loop(server.port, messages, seconds=options.seconds, **known))
            outcome = {**load.as_dict(), "memory_before": before, "memory_after": server.memory(), "alive": server.alive()}
            logged = logged_milliseconds(server, 429, after=OPENING)
        outcome["milliseconds_of_429_in_the_servers_log"] = logged
        slow = serving.percentile(load.by_status.get(429, []), 99) * 1000
        outcome["holds"] = (
            set(load.statuses) <= {200, 429}
            and not load.resets
            and not load.without_retry_after
            and not slow > MAX_MS_429  # NaN where there was no 429
        )
        results[name] = outcome
        times = f"429 p99 {slow:.1f} ms, in the log {logged.get('p99', float('nan'))}"
        print(f"flood, {name}: {outcome['statuses']}, resets {outcome['resets']}, {times}: {outcome['holds']}", flush=True)
    return {"connections": options.connections, "patience": options.patience, "loads": results}


def beside(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Answers per second of each arm, in alternating rounds."""
    folder = plain_folder(model)
    messages = [json_request("/predict", {"inputs": text}) for text in mixed_texts(500)]
    speeds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    others: dict[str, list[Mapping[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm in ARMS:
            with running(arm, command_of(arm, folder), ready="/readyz") as server:
                asyncio.run(closed_loop(server.port, messages, clients=options.clients, seconds=2))  # warm-up
                load = asyncio.run(closed_loop(server.port, messages, clients=options.clients, seconds=options.seconds / 2))
            speeds[arm].append(load.answered_per_second)
            others[arm].append(load.as_dict())
            print(f"beside, round {number + 1} {arm:<14}{speeds[arm][-1]:8.1f} answers/s", flush=True)
    medians = {arm: median(values) for arm, values in speeds.items()}
    best = max(medians["fastapi-def"], medians["fastapi-async"])
    result = {
        "clients": options.clients,
        "answers_per_second": speeds,
        "median": medians,
        "times_def": medians["hftool"] / medians["fastapi-def"],
        "times_async": medians["hftool"] / medians["fastapi-async"],
        "times_best": medians["hftool"] / best,
        "bar": MIN_SPEEDUP,
        "loads": others,
    }
    print(
        f"hftool gives {result['times_best']:.2f} times the answers per second of the faster endpoint (bar {MIN_SPEEDUP})",
        flush=True,
    )
    return result


def plain_folder(model: str) -> str:
    """The model folder that transformers can load, which in a run folder is `model`."""
    inner = Path(model) / "model"
    return str(inner if inner.is_dir() else model)


async def through_batcher(loaded: Any, rows: Sequence[Any], submitters: int) -> tuple[float, list[Any]]:
    """Seconds for the rows, submitted one by one, and the answers."""
    from hftool.server.batching.batcher import Batcher
    from hftool.server.limits import Limits
    from hftool.server.prometheus import Stats
    from hftool.workflow._load import make_predictor

    outcome: list[Any] = [None] * len(rows)
    batcher_ = Batcher(lambda given: make_predictor(loaded, options=given, packed=True), Limits(queue_items=1024), Stats())
    batcher_.start()
    while not batcher_.ready:
        await asyncio.sleep(0.01)

    async def one(number: int) -> None:
        for at in range(number, len(rows), submitters):
            [outcome[at]] = await batcher_.submit([rows[at]], options={}, timeout=600)

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(submitters)))
    seconds = time.perf_counter() - started
    batcher_.stop()
    return seconds, outcome


def in_thread(work: Callable[[], Any]) -> Any:
    """The result of work(), run in a temporary thread; see `hftool.workflow._serve._load`."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def batcher(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Rows per second, directly and through the batcher."""
    from hftool import workflow
    from hftool.data.readers.tables import Row
    from hftool.workflow._load import make_predictor

    loaded = in_thread(lambda: workflow.load(model, offline=True))
    rows: list[Row] = [{"text": text} for text in mixed_texts(options.rows)]
    predictor = make_predictor(loaded, packed=True)  # as in the server
    raw = in_thread(lambda: list(predictor.answer(rows)))  # warm-up-up, and the reference answers

    def through(submitters: int) -> float:
        seconds, outcome = asyncio.run(through_batcher(loaded, rows, submitters))
        if [answer["label"] for answer in outcome] != [answer["label"] for answer in raw]:
            sys.exit("the batcher answers otherwise than the predictor")
        return seconds

    def alone() -> float:
        started = time.perf_counter()
        in_thread(lambda: list(predictor.answer(rows)))
        return time.perf_counter() - started

    times: dict[str, list[float]] = {"raw": [], "batcher of 64": [], "batcher of 512": []}
    for number in range(options.rounds):
        times["raw"].append(alone())
        times["batcher of 64"].append(through(64))
        times["batcher of 512"].append(through(512))
        summary = ", ".join(f"{name} {len(rows) / values[-1]:.1f}" for name, values in times.items())
        print(f"batcher, round {number + 1}: rows/s {summary}", flush=True)
    medians = {name: median(values) for name, values in times.items()}
    cost = {name: medians[name] / medians["raw"] - 1 for name in medians if name != "raw"}
    overhead = cost["batcher of 512"]
    print(f"the batcher costs {overhead:+.1%} with a full queue (bar {MAX_OVERHEAD:.0%}), {cost['batcher of 64']:+.1%} at 64")
    return {"rows": len(rows), "seconds": times, "median": medians, "cost": cost, "bar": MAX_OVERHEAD, **over_http(model, rows)}


def over_http(model: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same rows from 64 clients, one row per request."""
    messages = [json_request("/predict", {"inputs": row["text"]}) for row in rows]
    with running("hftool", hftool_server(model), ready="/readyz") as server:
        asyncio.run(closed_loop(server.port, messages, clients=64, seconds=2))
        load = asyncio.run(closed_loop(server.port, messages, clients=64, seconds=15))
    print(f"over HTTP from 64 clients: {load.answered_per_second:.1f} rows/s", flush=True)
    return {"over_http": load.as_dict()}


def fine_tuned() -> str:
    """A MiniLM fine-tuned on sst2-mini for a short time."""
    from hftool import workflow

    folder = Path(tempfile.mkdtemp(prefix="serve-load-"))
    workflow.finetune("minilm", "sst2-mini", config={"epochs": 1}, out=folder / "run", offline=True)
    return str(folder / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", metavar="RUN")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="duration of the flood; a round of `beside` takes half of it"
    )
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--patience", type=float, default=1.0, help="seconds after a 429")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--out")
    parser.add_argument("--arm", choices=ARMS[1:], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    serving.stop_servers_on_sigterm()
    if options.arm:
        serve_plain(options.model, options.port, options.arm)
        return
    model = options.model or fine_tuned()
    try:
        parts = {"flood": flood, "beside": beside, "batcher": batcher}
        save_result(options.out, {name: parts[name](model, options) for name in options.only})
    finally:
        if not options.model:
            shutil.rmtree(Path(model).parent)


if __name__ == "__main__":
    main()
