"""Ports that cannot be bound, workers that fail or hang, and signals: a server process for each test that ends one."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from conftest import one_line
from support.fault_server import reply_on, switched_server

pytest_plugins = ("support.shared_server",)

BODY = json.dumps({"inputs": "a warm funny film"}).encode()
GRACE = 10


# ---- addresses


@pytest.fixture
def taken():
    """A port that is taken."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--port", "{taken}"), 69, "{taken}"),
        (("--port", "65536"), 2, "--port"),
        (("--port", "-1"), 2, "--port"),
        (("--host", "no.such.host.invalid", "--port", "0", "--api-key-file", "{keys}"), 73, "no.such.host.invalid"),
        (("--host", "203.0.113.7", "--port", "0", "--api-key-file", "{keys}"), 73, "203.0.113.7"),
        (("--host", "0.0.0.0", "--port", "0"), 2, "--api-key-file"),
    ],
    ids=str,
)
def test_unusable_address_is_reported_before_models_are_resolved(cli, taken, tmp_path, options, code, message):
    import hftool.server.http.app  # noqa: F401  what is measured below is not how long imports take

    keys = tmp_path / "keys.txt"
    keys.write_text("a-key-of-some-length\n", encoding="utf-8")
    keys.chmod(0o600)
    (tmp_path / "no-model").mkdir()
    words = [word.format(taken=taken, keys=keys) for word in options]
    began = time.monotonic()
    found, out, err = cli("serve", tmp_path / "no-model", *words)
    assert time.monotonic() - began < 2
    assert found == code and out == ""
    assert message.format(taken=taken) in one_line(err)


@pytest.mark.skipif(
    not hasattr(os, "fork") or not shutil.which("setpriv"), reason="needs setpriv to give up the right to low ports"
)
def test_privileged_port_is_73(tmp_path):
    if Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="utf-8").strip() == "0":
        pytest.skip("this machine lets everybody have low ports")
    drop = [
        "setpriv",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--ambient-caps",
        "-all",
        "--reuid",
        "65534",
        "--clear-groups",
    ]
    code = "import sys; from hftool.server.http.address import bind\ntry: bind('127.0.0.1', 81)\nexcept Exception as e: sys.exit(e.code)"
    python = [sys.executable, "-c", code]
    done = subprocess.run(
        [*drop, *python], capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)}
    )
    if "setpriv" in done.stderr or "Permission" in done.stderr:
        pytest.skip(f"setpriv may not do it here: {done.stderr[-200:]}")
    assert done.returncode == 73, done.stderr


# ---- workers that fail


def ask_in_threads(switched, count):
    """Requests under way -> their threads, and where their statuses will be."""
    met = []
    threads = [threading.Thread(target=lambda: met.append(switched.predict("a warm film")[0])) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, met


def test_failed_worker_is_replaced_and_the_third_failure_ends_the_server(tiny_run, tmp_path):
    hang = 2
    with switched_server([f"film={tiny_run}"], folder=tmp_path, environment={"HFTOOL_HANG": str(hang)}) as one:
        before = len(one.noted("computed"))
        with one.switched("hold"):
            [first], met = ask_in_threads(one, 1)
            one.until(lambda: len(one.noted("computed")) > before)
            began = time.monotonic()
            others, met_by_others = ask_in_threads(one, 2)
            one.wait_for_rows(3)
            first.join(20)
        assert met == [503] and time.monotonic() - began < hang + 5
        for thread in others:
            thread.join(20)
        assert met_by_others == [200, 200], "what waits is left to the next worker"
        one.until(lambda: one.ask("/readyz")[0] == 200)
        assert one.predict("a warm film")[0] == 200

        (one.switches / "die").touch()
        assert one.predict("a warm film")[0] == 503
        assert one.ask("/readyz")[0] == 503
        assert one.predict("a warm film")[0] == 503
        assert one.ask("/livez")[0] == 200
        (one.switches / "hold").unlink()
        one.until(lambda: one.ask("/readyz")[0] == 200)
        assert one.predict("a warm film")[0] == 200

        (one.switches / "die").touch()
        with contextlib.suppress(OSError):  # it may be gone before it has answered
            assert one.predict("a warm film")[0] == 503
        assert one.server.process.wait(10) == 1
        last = one.server.log.read_text(encoding="utf-8").splitlines()[-1]
        assert last.startswith("hftool: ") and "3 times" in last and "Traceback" not in last


# ---- signals


def children(pid):
    """The processes below one."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [child for one in found for child in (int(one), *children(one))]


async def ask_until_it_ends(port, message, met, stop):
    """Ask again and again: words for what was under way at the signal, and for what came later."""
    while not stop["over"]:
        before = not stop["signalled"]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(message)
                status, _ = await reply_on(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        met["under way" if before else "later"][status] += 1
        if status in ("ConnectionRefusedError", "ConnectionResetError") and stop["signalled"]:
            return


def end_under_load(one, pid, number=signal.SIGTERM):
    """Clients ask, the signal comes, the held batch continues -> what the clients met, and the states that /readyz had."""
    met, stop, ready = {"under way": Counter(), "later": Counter()}, {"signalled": False, "over": False}, []

    async def play():
        message = one.message(BODY)
        clients = [asyncio.ensure_future(ask_until_it_ends(one.port, message, met, stop)) for _ in range(16)]
        await asyncio.sleep(0.5)
        (one.switches / "hold").touch()
        await asyncio.to_thread(one.wait_for_rows, 16)
        stop["signalled"] = True
        os.kill(pid, number)
        await asyncio.sleep(0.3)
        ready.append((await asyncio.to_thread(one.ask, "/readyz"))[0])
        ready.append((await asyncio.to_thread(one.predict, "a warm film"))[0])
        (one.switches / "hold").unlink()
        began = time.monotonic()
        while one.server.process.poll() is None and time.monotonic() - began < GRACE + 5:
            await asyncio.sleep(0.02)
        stop["over"] = True
        await asyncio.gather(*clients)
        return time.monotonic() - began

    return met, ready, asyncio.run(play())


def check_end(met, ready, seconds):
    assert ready == [503, 503], "while it ends it is not ready and takes nothing new"
    assert met["under way"] and set(met["under way"]) == {200}, met
    assert set(met["later"]) <= {503, "ConnectionRefusedError", "ConnectionResetError", "IncompleteReadError"}, met
    assert seconds < GRACE + 2


def test_sigterm_under_load_answers_requests_in_flight(tiny_run, tmp_path):
    with switched_server([f"film={tiny_run}"], "--grace", GRACE, folder=tmp_path) as one:
        below = children(one.server.process.pid)
        check_end(*end_under_load(one, one.server.process.pid))
        assert one.server.process.wait(1) == 0
        assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_ends_within_5_seconds(tiny_run, tmp_path, number):
    with switched_server([f"film={tiny_run}"], folder=tmp_path) as one:
        held = one.server.raw(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # a slow client does not hold it
        code, seconds = one.server.stop(number)
        held.close()
    assert code == 0 and seconds < 5


@pytest.mark.slow
def test_second_signal_ends_a_held_server_at_once(tiny_run, tmp_path):
    with switched_server([f"film={tiny_run}"], folder=tmp_path) as one, one.switched("hold"):
        thread = ask_in_a_thread_that_may_fail(one)
        one.wait_for_rows(1)
        one.server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        code, seconds = one.server.stop(signal.SIGTERM)
        thread.join(5)
    assert code == 143 and seconds < 1


def ask_in_a_thread_that_may_fail(switched):
    def ask():
        with contextlib.suppress(OSError):
            switched.predict("a warm film")

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_sigterm_as_pid_1_of_a_container(tiny_run, tmp_path):
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespaces")
    environment = {"HFTOOL_BEFORE": " ".join(unshare)}
    with switched_server([f"film={tiny_run}"], "--grace", GRACE, folder=tmp_path, environment=environment) as one:
        [inner] = children(one.server.process.pid)
        check_end(*end_under_load(one, inner))
        assert one.server.process.wait(1) == 0
