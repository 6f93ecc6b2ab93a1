"""The packages ("rooms") that a text, a CSV row and a request body pass, in two versions of hftool.

    python benchmarks/rooms_passed.py --before OLD_TREE --after NEW_TREE [--out results/rooms_passed.json]

classify   a text on the command line, under `hftool classify RUN TEXT`
finetune   the rows of a CSV, under `hftool finetune bert-mini FILE`
request    a body that is sent to /predict of `hftool serve RUN`

Each job runs in its own process, twice: imports and caches are done when the second one is traced with `sys.setprofile`,
in all its threads. A room is a package or module directly in hftool/. A hand-over is a call from a function of one room to one
of another, whatever library lies between. It is a climb if the room called stands higher in the table of tests/test_layers.py
of that version than the one that calls: a callback. A generator of a higher room that a lower one advances is a pull, not a
climb, as its own room called it. Hand-overs are counted once for each pair of functions: rows and steps do not count.
"""

import argparse
import contextlib
import http.client
import importlib.util
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

JOBS = ("classify", "finetune", "request")
GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
ITERATORS = GENERATORS | inspect.CO_COROUTINE


class Tracer:
    """Records calls between rooms while it is on."""

    def __init__(self, root, levels):
        self.root, self.levels = str(root / "hftool") + os.sep, levels
        self.on = False
        self.rooms = {}
        self.seen = set()
        self.calls, self.climbs, self.pulls = Counter(), {}, Counter()
        self.after_loading = set()
        self.way = []

    def room(self, code):
        """The room of a code object; None outside hftool."""
        if code not in self.rooms:
            path = code.co_filename
            name = Path(path).relative_to(self.root).parts[0].removesuffix(".py") if path.startswith(self.root) else None
            self.rooms[code] = name if name in self.levels else None
        return self.rooms[code]

    def caller(self, frame):
        """The nearest frame of hftool below the given one."""
        frame = frame.f_back
        while frame is not None and self.room(frame.f_code) is None:
            frame = frame.f_back
        return frame

    def __call__(self, frame, event, argument):
        if not self.on or event != "call":
            return
        room = self.room(frame.f_code)
        if room is None or frame.f_code.co_name == "<module>":
            return
        below = self.caller(frame)
        if not self.way or (self.way[-1] != room):
            self.way.append(room)
        if below is None or self.room(below.f_code) == room:
            return
        again = frame in self.seen
        if frame.f_code.co_flags & ITERATORS:
            self.seen.add(frame)
        pair = (self.named(below), self.named(frame))
        higher = self.levels[room] > self.levels[self.room(below.f_code)]
        if again or (higher and frame.f_code.co_flags & GENERATORS):
            self.pulls[pair] += higher
            return
        self.calls[pair] += 1
        if not self.is_loading(frame):
            self.after_loading.add(pair)
        if higher:
            self.climbs.setdefault(pair, f"{self.path(below)} -> {self.path(frame)}")

    def is_loading(self, frame):
        """Whether the call is part of loading the model, which no text passes."""
        while frame is not None:
            if frame.f_code.co_name == "load" and self.room(frame.f_code) == "workflow":
                return True
            frame = frame.f_back
        return False

    def named(self, frame):
        return f"{self.room(frame.f_code)}:{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"

    def path(self, frame):
        code = frame.f_code
        return f"{code.co_filename[len(self.root) :]}:{frame.f_lineno} {code.co_qualname}"

    @contextlib.contextmanager
    def tracing(self):
        """All threads that exist were started with this tracer as their profiler."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def result(self):
        rooms = list(dict.fromkeys(self.way))
        pulled = sorted(f"{a} <- {b}" for (a, b), count in self.pulls.items() if count)
        return {
            "rooms": len(rooms),
            "rooms_in_order": rooms,
            "hand_overs": len(self.calls),
            "room_pairs": len({tuple(name.partition(":")[0] for name in pair) for pair in self.calls}),
            "hand_overs_without_loading": len(self.after_loading),
            "hand_overs_with_repetition": sum(self.calls.values()),
            "pairs": sorted(" -> ".join(pair) for pair in self.calls),
            "climbs": len(self.climbs),
            "climbs_at": sorted(self.climbs.values()),
            "pulls": len(pulled),
            "pulls_at": pulled,
            "way": self.way[:400],
        }


def command_line(arguments):
    """hftool's command line, in this process."""
    from hftool.cli.app import main

    code = main(arguments)
    assert code == 0, (code, arguments)


def send(port, tries=1):
    """The status of a request to /predict; tried again until it is 200."""
    status = 0
    for _ in range(tries):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/predict", b'{"inputs": "A warm film."}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except OSError:
            status = 0
        finally:
            connection.close()
        if status == 200:
            return status
        time.sleep(0.3)
    return status


def ask_own_server(port, tracer, statuses):
    """Send two requests to the server in this process, trace the second, and end the server."""
    sys.setprofile(None)  # of this thread, which is the client's
    statuses.append(send(port, tries=200))
    with tracer.tracing():
        statuses.append(send(port))
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def trace(job, root, workspace, out):
    """The journey of one job in this process, which has one version of hftool."""
    spec = importlib.util.spec_from_file_location("layers", root / "tests" / "test_layers.py")
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    tracer = Tracer(root, layers.LEVEL)
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    if job == "request":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        statuses = []
        threading.Thread(target=ask_own_server, args=(port, tracer, statuses), daemon=True).start()
        command_line(["serve", str(workspace / "run"), "--port", str(port), "--offline"])
        assert statuses == [200, 200], statuses
    else:
        tune = [
            "finetune",
            "bert-mini",
            str(workspace / "rows.csv"),
            "--max-steps",
            "2",
            "--batch-size",
            "4",
            "--offline",
            "-q",
        ]
        words = ["classify", str(workspace / "run"), "A warm film.", "--offline"]
        command_line([*tune, "--out", str(workspace / "first")] if job == "finetune" else words)
        with tracer.tracing():
            command_line([*tune, "--out", str(workspace / "second")] if job == "finetune" else words)
    sys.setprofile(None)
    out.write_text(json.dumps(tracer.result()), encoding="utf-8")


def measured(root, job, workspace):
    """The result of a job on one tree, in its own process."""
    workspace.mkdir(parents=True)
    rows = "".join(f"A {'dull' if i % 2 else 'warm'} film number {i},{'neg' if i % 2 else 'pos'}\n" for i in range(24))
    (workspace / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    tune = [
        "finetune",
        "bert-mini",
        str(workspace / "rows.csv"),
        "--max-steps",
        "2",
        "--offline",
        "-q",
        "--out",
        str(workspace / "run"),
    ]
    quiet = {"env": environment, "cwd": workspace, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    out = workspace / "result.json"
    words = [__file__, "--trace", job, "--root", str(root), "--workspace", str(workspace), "--out", str(out)]
    for arguments in ([["-m", "hftool", *tune]] if job != "finetune" else []) + [words]:
        ended = subprocess.run([sys.executable, *arguments], **quiet)
        if ended.returncode:
            sys.exit(f"{root.name}, {job}: {ended.stderr[-2000:]}")
    return json.loads(out.read_text(encoding="utf-8"))


def show(job, results):
    """A table line for each figure, and where the climbs are."""
    print(f"\n{job:<30}{'before':>10}{'after':>10}")
    for figure in ("rooms", "room_pairs", "hand_overs", "hand_overs_without_loading", "climbs", "pulls"):
        print(f"  {figure.replace('_', '-'):<28}{results['before'][figure]:>10}{results['after'][figure]:>10}")
    for label, result in results.items():
        print(f"  {label}: {' > '.join(result['rooms_in_order'])}")
        for climb in result["climbs_at"]:
            print(f"    climbs: {climb}")
        for pull in result["pulls_at"]:
            print(f"    pulled: {pull}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=JOBS, choices=JOBS)
    parser.add_argument("--trace", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trace:
        trace(options.trace, options.root, options.workspace, options.out)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for job in options.only:
            trees = {"before": options.before.resolve(), "after": options.after.resolve()}
            found[job] = {label: measured(root, job, Path(folder) / f"{job}-{label}") for label, root in trees.items()}
            show(job, found[job])
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
