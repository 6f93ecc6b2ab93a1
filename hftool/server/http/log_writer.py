"""The log of the server, written to stderr as lines of JSON by a thread."""

import contextlib
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

QUEUED_LINES = 10_000
# s between two writes: a thread woken for each line would compete with the model's for the interpreter (log in
# benchmarks/serve_tricks.py)
INTERVAL = 0.05
LAST_LINES = 1.0  # s


class _LineHandler(logging.Handler):
    """Queues records as lines of JSON; those that find the queue full are dropped."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of a record without waiting."""
        if len(self.lines) < QUEUED_LINES:
            self.lines.append(f"{_line_of(record)}\n")


def _line_of(record: logging.LogRecord) -> str:
    """The line of a record: requests are logged as JSON already."""
    if record.name == "hftool.serve":
        return record.getMessage()
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": at, "event": "log", "level": record.levelname.lower(), "text": record.getMessage()})


def _write_lines(lines: deque[str], ending: threading.Event) -> None:
    """Write queued lines until the end.

    It writes to stderr itself: a StreamHandler blocked by a full pipe would hold its lock against logging.shutdown.
    """
    is_last = False
    while not is_last:
        is_last = ending.wait(INTERVAL)
        text = "".join(lines.popleft() for _ in range(len(lines)))
        with contextlib.suppress(OSError, ValueError):
            if text and sys.stderr is not None:
                sys.stderr.write(text)
                sys.stderr.flush()


@contextlib.contextmanager
def log_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Write the log of the server to stderr from a thread: a full pipe must not block requests.

    Beyond QUEUED_LINES waiting lines further ones are dropped. At the end the thread has LAST_LINES seconds to finish.
    """
    lines: deque[str] = deque()
    handler, ending = _LineHandler(lines), threading.Event()
    writer = threading.Thread(target=_write_lines, args=(lines, ending), daemon=True, name="hftool-log")
    log = logging.getLogger("hftool")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    writer.start()
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True
        log.setLevel(logging.NOTSET)
        ending.set()
        writer.join(LAST_LINES)  # it may be blocked for ever
