"""Memory that the server keeps after requests have ended."""

import ast
import asyncio
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import forked, memory
from support.families import CORPUS

pytest_plugins = ["support.shared_server"]
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory in /proc")
TEXTS = [text for text in CORPUS if " " in text]


@linux
def test_kernel_caches_are_bounded():
    """MB that 480 products of ever other sizes leave behind; unbound they leave more than 100 where oneDNN multiplies."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = forked.fork(memory.growth_by_shapes, sender)
    sender.close()
    assert receiver.recv() < 40
    process.join(30)


def test_cache_capacity_of_the_environment_is_respected(cli, monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "5")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "")
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    assert cli("serve", "nope")[0] == 2  # before any model is loaded
    assert (os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"], os.environ["LRU_CACHE_CAPACITY"]) == ("5", "24")


def resident(shared):
    """MB of the server."""
    lines = Path(f"/proc/{shared.server.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1000


async def leave(shared, rng):
    """A stream that its client leaves after some of its events."""
    text = " ".join(rng.choice(TEXTS).split()[: rng.randint(1, 9)])
    body = {"model": "writer", "prompt": text, "stream": True, "max_tokens": rng.randint(10, 40), "temperature": 1}
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    try:
        writer.write(shared.message(json.dumps(body).encode(), "/v1/completions"))
        assert b" 200 " in await reader.readline()
        for _ in range(rng.randint(1, 8)):
            await reader.readuntil(b"data: ")
    except asyncio.IncompleteReadError:  # the text was shorter
        pass
    finally:
        writer.close()


def leave_many(shared, count, seed, callers=16):
    """So many of them, and until the server has noticed."""
    rng, turns = random.Random(seed), iter(range(count))

    async def call():
        for _ in turns:
            await leave(shared, rng)

    async def together():
        await asyncio.gather(*(call() for _ in range(callers)))

    asyncio.run(together())
    shared.wait_for_rows(0)


def census(shared):
    """How many objects of requests the server holds."""
    before = len(shared.noted("census"))
    shared.server.process.send_signal(signal.SIGUSR1)
    shared.until(lambda: len(shared.noted("census")) > before, seconds=60)
    return json.loads(shared.noted("census")[-1])


def test_counted_classes_exist():
    """A name that is no longer that of a class would be counted as 0 for ever."""
    tree = ast.parse((Path(__file__).parents[1] / "support" / "sabotage.py").read_text(encoding="utf-8"))
    [names] = [
        ast.literal_eval(one.value) for one in tree.body if isinstance(one, ast.Assign) and one.targets[0].id == "OF_REQUESTS"
    ]
    source = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "hftool").rglob("*.py"))
    missing = [name for name in names if not re.search(rf"^class {name}\b", source, re.M)]
    assert missing == ["RequestResponseCycle", "DynamicCache"]  # of uvicorn and transformers


@linux
def test_abandoned_streams_leave_no_objects(shared):
    """Counted, and not measured: how far the heap has grown for all that was ever held at once is chance."""
    leave_many(shared, 20, "warm")
    before, threads = census(shared), len(os.listdir(f"/proc/{shared.server.process.pid}/task"))
    leave_many(shared, 120, "measured")
    after = census(shared)
    assert all(after[name] <= before[name] + 20 for name in after), (before, after)  # of connections that are closing
    assert len(os.listdir(f"/proc/{shared.server.process.pid}/task")) <= threads


@pytest.mark.slow
@linux
def test_abandoned_streams_do_not_grow_memory(shared):
    """Before, 17 to 57 MB stayed of a thousand."""
    leave_many(shared, 2000, "warm")
    before = resident(shared)
    leave_many(shared, 2000, "measured")
    assert resident(shared) - before < 2


@pytest.mark.slow
@linux
def test_memory_is_stable_over_rounds_of_mixed_requests(tiny_run, tmp_path):
    """benchmarks/serve_memory.py, small: its exit code says whether its bar was met."""
    bench = Path(__file__).parents[2] / "benchmarks" / "serve_memory.py"
    options = ["--classifier", str(tiny_run), "--requests", "4000", "--rounds", "3", "--out", str(tmp_path / "out.json")]
    subprocess.run([sys.executable, str(bench), *options], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert all(not one["faults"] for one in result["rounds"])
    assert result["mb_for_1000_requests"][-1] < 1.0, result["rounds"]
