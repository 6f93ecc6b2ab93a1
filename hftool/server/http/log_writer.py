"""The log of the server, written to stderr as lines of JSON by a thread."""

import contextlib
import json
import logging
import queue
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any

QUEUED_LINES = 10_000
LAST_LINES = 1.0  # s


class _LineHandler(QueueHandler):
    """Queues records as lines of JSON; those that find the queue full are dropped."""

    def prepare(self, record: logging.LogRecord) -> str:
        """The line of a record: requests are logged as JSON already."""
        if record.name == "hftool.serve":
            return record.getMessage()
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": at, "event": "log", "level": record.levelname.lower(), "text": record.getMessage()})

    def enqueue(self, record: Any) -> None:
        """Queue a line without waiting."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


class _StderrListener(QueueListener):
    """Writes lines to stderr itself: a StreamHandler blocked by a full pipe would hold its lock against logging.shutdown."""

    def handle(self, record: Any) -> None:
        """Write a line."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.write(f"{record}\n")
                sys.stderr.flush()


@contextlib.contextmanager
def log_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Write the log of the server to stderr from a thread: a full pipe must not block requests.

    Beyond QUEUED_LINES waiting lines further ones are dropped. At the end the thread has LAST_LINES seconds to finish.
    """
    waiting: queue.Queue[str] = queue.Queue(QUEUED_LINES)
    handler, listener = _LineHandler(waiting), _StderrListener(waiting)
    log = logging.getLogger("hftool")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    listener.start()
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True
        log.setLevel(logging.NOTSET)
        until = time.monotonic() + LAST_LINES
        while waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        if not waiting.unfinished_tasks:  # else its thread may be blocked for ever, and stop() would wait for it
            listener.stop()
