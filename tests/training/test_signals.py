"""Real signals to real processes: what a user's Ctrl-C, a job scheduler or a machine that shuts down sends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import one_line
from hftool.training.signals import Signals


@pytest.fixture(autouse=True)
def hang_up_is_signal_options():
    """Whatever these tests were started under: children inherit from nohup that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def start(tiny_bert, folder, name, *more):
    """A run that would take for ever, in a separate process group."""
    words = ["finetune", tiny_bert, "sst2", "--train", folder / "train.tsv", "--validation", folder / "dev.tsv"]
    words += ["--out", folder / name, "--epochs", "1000", "--batch-size", "8", "--log-steps", "1", "--offline", "-q"]
    words += ["--patience", "0", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "hftool", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size > 300):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_signals_save_and_end_with_one_line(tiny_bert, film_files, cli):
    """SIGINT to the process, and SIGTERM to its whole group, those that prepare batches included; they run side by side."""
    cases = [
        ("int", signal.SIGINT, os.kill, 130, ()),
        ("term", signal.SIGTERM, os.killpg, 143, ("--set", "workers=2")),
        ("hup", signal.SIGHUP, os.killpg, 129, ()),
    ]
    started = [(case, start(tiny_bert, film_files, case[0], *case[4])) for case in cases]
    for (name, number, send, code, _), process in started:
        run = film_files / name
        wait_for(run / "log.jsonl", process)
        send(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        line, word = one_line(err), signal.Signals(number).name
        step = int(line.split("stopped after step ")[1].split(",")[0])
        assert out == "" and line == (
            f"hftool: {word}: stopped after step {step}, checkpoint saved in '{run}'. Resume: hftool resume {run}"
        )
        assert (run / "checkpoints" / f"step-{step:06d}").is_dir() and not (run / "metrics.json").exists()
        assert list((run / "checkpoints").glob(".tmp-*")) == []
    run = film_files / "term"
    code, _, err = cli("classify", run, "a warm film")
    assert code == 78 and f"hftool save {run} --checkpoint best" in one_line(err)
    code, _, err = cli("save", run, "--checkpoint", "last", "--out", "saved")
    assert code == 0, err
    code, out, err = cli("classify", film_files / "saved", "a warm funny film")
    assert code == 0 and out.startswith("positive"), err


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "import os, signal\n"
        "from hftool.training.signals import Signals\n"
        "with Signals() as signals:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert signals.pending == signal.SIGINT\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (143, "still here\n")


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        (["SIGHUP", "SIGHUP"], "129 pending"),
        (["SIGTERM", "SIGHUP"], "143 pending"),  # as systemd ends a session
        (["SIGHUP", "SIGTERM"], "143 pending"),
        (["SIGHUP", "SIGTERM", "SIGHUP"], "143 pending"),
        (["SIGHUP", "SIGINT", "SIGINT"], 130),
        (["SIGHUP", "SIGTERM", "SIGINT"], 130),
    ],
)
def test_a_hang_up_is_no_second_signal(numbers, code):
    program = (
        "import os, signal, sys, time\n"
        "from hftool.training.signals import Signals\n"
        "with Signals() as signals:\n"
        "    for name in sys.argv[1:]:\n"
        "        os.kill(os.getpid(), getattr(signal, name))\n"
        "        time.sleep(0.05)\n"  # the thread hears of each
        "    print(128 + signals.pending, 'pending')\n"
    )
    result = subprocess.run([sys.executable, "-c", program, *numbers], capture_output=True, text=True)
    assert (result.stdout.strip() or result.returncode) == code, result.stderr


def test_under_nohup_a_hang_up_stays_ignored():
    from hftool.training.launch import _signal_options

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.pending is None and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and "SIGHUP" not in _signal_options()[1]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert _signal_options() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a mutex of zeros is one of Linux")
@pytest.mark.parametrize(("numbers", "grace", "code"), [((15,), 0.3, 143), ((15, 2), 30, 130)], ids=["grace", "second"])
def test_the_grace_ends_and_a_second_signal_too_while_nothing_comes_back(numbers, grace, code):
    """The main thread waits for what never comes, as for another process of the run: Python cannot call it."""
    program = (
        "import ctypes\n"
        "from hftool.training.signals import Signals\n"
        "lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)\n"
        f"with Signals({grace}):\n"
        "    libc.pthread_mutex_lock(lock)\n"
        "    print('waits', flush=True)\n"
        "    libc.pthread_mutex_lock(lock)\n"
    )
    going = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert going.stdout.readline() == "waits\n"
    for number in numbers:
        time.sleep(0.2)
        going.send_signal(number)
    try:
        assert going.wait(20) == code
    finally:
        going.kill()
        going.communicate()


def test_handlers_are_put_back_and_other_threads_do_without():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    with Signals() as signals:
        assert signal.getsignal(signal.SIGINT) == signals._handle
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == writer.fileno()  # an event loop's
    reader.close(), writer.close()
    assert [thread for thread in threading.enumerate() if thread is signals._watcher] == []
    went = []

    def work():
        with Signals() as other:
            went.append(other.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert went == [None]
