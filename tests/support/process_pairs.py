"""Runs of several processes: their words, the environment that torchrun would give them, and where they are found."""

import json
import os
import socket

from support import families
from support.command_words import last_wins


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def words_for(folder, out, *more):
    """A run on the rows of tags, which have many lengths: 3 steps of 16 rows an epoch, dropout off."""
    path = folder / "rows.jsonl"
    if not path.exists():
        families.write_jsonl(path, families.tag_rows(41))
    knobs = ("--epochs", 2, "--lr", 0.1, "--optimizer", "sgd", "--log-steps", 1, "--precision", "fp32")
    files = ("--train", path, "--validation", path, "--allow-leak", "--out", folder / out)
    return last_wins(["finetune", families.folder("bert"), *files, *knobs, "--offline", "--device", "cpu", *more])


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def environments(port):
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def workers_of(pid):
    """Rank -> pid of the processes below this one that are workers."""
    below, found = {pid}, {}
    for _ in range(3):
        for path in sorted(os.listdir("/proc")):
            if not path.isdigit():
                continue
            try:
                with open(f"/proc/{path}/stat", encoding="utf-8") as handle:
                    parent = int(handle.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{path}/environ", "rb") as handle:
                    variables = dict(pair.split(b"=", 1) for pair in handle.read().split(b"\0") if b"=" in pair)
            except (OSError, ValueError):
                continue
            if parent in below:
                below.add(int(path))
                if b"TORCHELASTIC_RESTART_COUNT" in variables:
                    found[int(variables[b"RANK"])] = int(path)
    return found
