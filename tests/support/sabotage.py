"""hftool with switches for fault injection: `serving.started(..., before="support.sabotage:install")`, or this file as a program.

The switches are files in the folder HFTOOL_SABOTAGE: while `hold` is there no batch is computed, while `heavy` is there each
takes 0.5 s, while `slow` is there a step of writing takes 0.2 s, and `die` ends the thread that computes a batch, once, and
turns `hold` on. Words in a text for the classifier do the rest, by their token ids in HFTOOL_POISON: "raise", "memory", "nan".
HFTOOL_HANG are the seconds after which a batch hangs, HFTOOL_SLOW those that a client has for a request, HFTOOL_BEFORE is a
command to run it all under. It writes there:
`computed`, the rows of each batch; `steps`, a line for each step of writing; `sockets`, each connection out that is tried;
`read`, the bytes that were taken from each connection; after SIGUSR1 `census`, how many objects of requests there are.
"""

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["HFTOOL_SABOTAGE"])
POISON = json.loads(os.environ.get("HFTOOL_POISON", "{}"))
OUTWARD = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen", "os.system")


def note(name, line):
    with open(FOLDER / name, "a", encoding="utf-8") as handle:
        handle.write(f"{line}\n")


def watch(event, arguments):
    if event in OUTWARD:
        note("sockets", f"{event} {arguments[1:] if event == 'socket.connect' else arguments}")


def wait():
    while (FOLDER / "hold").exists():
        time.sleep(0.005)


def trouble(model, batch):
    """What the switches say about a batch -> the rows that become NaN."""
    note("computed", len(batch["input_ids"]))
    wait()
    if (FOLDER / "heavy").exists():
        time.sleep(0.5)
    try:
        (FOLDER / "die").unlink()
    except FileNotFoundError:
        pass
    else:
        (FOLDER / "hold").touch()  # so that whoever comes next is not ready before a test has looked
        raise SystemExit("sabotage")
    if not type(model).__name__.endswith("SequenceClassification"):  # the ids are those of the classifier's words
        return []
    rows = [set(ids) for ids in batch["input_ids"].tolist()]
    if any(POISON.get("raise") in ids for ids in rows):
        raise RuntimeError("a text with the word in it")
    if any(POISON.get("memory") in ids for ids in rows):
        raise MemoryError
    return [i for i, ids in enumerate(rows) if POISON.get("nan") in ids]


def spoil_engine():
    from hftool.engines.torch import TorchEngine

    forward, begin, further = TorchEngine.forward, TorchEngine.begin, {}

    def spoilt(self, batch, outputs=("logits",)):
        bad = trouble(self.model, batch)
        result = forward(self, batch, outputs)
        for name in outputs if bad else ():
            result[name] = result[name].clone()  # what inference mode has made may not be changed
            result[name][bad] = float("nan")
        return result

    def spoilt_begin(self, batch):
        trouble(self.model, batch)
        state = begin(self, batch)
        kind = type(state)
        if kind not in further:
            further[kind], kind.decode = kind.decode, spoilt_next
        return state

    def spoilt_next(self, tokens, rows=None):
        note("steps", len(tokens))
        if (FOLDER / "slow").exists():
            time.sleep(0.2)
        return further[type(self)](self, tokens, rows)

    TorchEngine.forward, TorchEngine.begin = spoilt, spoilt_begin


def count_bytes():
    from hftool.server.http.slow_clients import GuardedProtocol

    take, lose = GuardedProtocol.data_received, GuardedProtocol.connection_lost

    def counted(self, data):
        self.taken = getattr(self, "taken", 0) + len(data)
        take(self, data)

    def closed(self, error):
        note("read", getattr(self, "taken", 0))
        lose(self, error)

    GuardedProtocol.data_received, GuardedProtocol.connection_lost = counted, closed


OF_REQUESTS = (
    "PendingRequest",
    "QueuedRow",
    "PendingCompletion",
    "TextStreamer",
    "RequestContext",
    "RequestRecord",
    "RequestResponseCycle",
    "TorchGenerationState",
    "GPT2State",
    "PreallocatedCache",
    "DynamicCache",
)


def count_objects(number, frame):
    """Each is there once a request, or once a batch, and should go with it."""
    gc.collect()
    names = [type(one).__name__ for one in gc.get_objects()]
    note("census", json.dumps({name: names.count(name) for name in (*OF_REQUESTS, "Task")}))


def change_limit(name, seconds):
    from hftool.server.limits import Limits

    Limits.__init__.__kwdefaults__[name] = seconds


def break_off_after(seconds):
    """Slow clients, and idle connections."""
    from hftool.server import process

    change_limit("slow", seconds)
    process.KEEP_ALIVE = seconds


def install():
    """Put all of it into this process."""
    sys.addaudithook(watch)
    spoil_engine()
    count_bytes()
    signal.signal(signal.SIGUSR1, count_objects)
    if "HFTOOL_HANG" in os.environ:
        change_limit("hang", float(os.environ["HFTOOL_HANG"]))
    if "HFTOOL_SLOW" in os.environ:
        break_off_after(float(os.environ["HFTOOL_SLOW"]))


if __name__ == "__main__":
    before = os.environ.pop("HFTOOL_BEFORE", "").split()
    if before:
        os.execvp(before[0], [*before, sys.executable, *sys.argv])
    install()
    from hftool.cli.app import entry

    entry()
