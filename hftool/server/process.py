"""The server process: it runs uvicorn, handles signals, drains requests and sets the exit code."""

import asyncio
import atexit
import contextlib
import functools
import gc
import json
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import uvicorn

from hftool.errors import HftoolError, Interrupted
from hftool.server.batching.batcher import Batcher
from hftool.server.http.access_log import record_refusal
from hftool.server.http.app import Service, make_app
from hftool.server.http.slow_clients import guarded, loop_settings

LOG = logging.getLogger("hftool.serve")
KEEP_ALIVE = 5  # s that a connection may stay open without a request
TICK = 0.02  # s between two checks of the requests in flight
MAX_OPEN_FILES = 8192  # where the machine allows it: each connection is one
SEND_GRACE = 1.0  # s after the grace period, to send the last responses


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again at its end, which kills the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class Process:
    """One run of the server. `on_ready` is called once, when all models are ready."""

    def __init__(self, service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
        self.service, self.listening, self.on_ready = service, listening, on_ready
        limits = service.limits
        config = uvicorn.Config(
            make_app(service),
            http=guarded(limits.slow, functools.partial(record_refusal, service.stats)),
            lifespan="off",
            log_config=None,
            log_level="critical",  # exceptions are in our own log, without their messages
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(limits.grace + SEND_GRACE),
            **loop_settings(),
        )
        self.server = _Uvicorn(config)
        self.signal = 0
        self.fatal = ""
        self.fatal_class = HftoolError
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Serve until a signal arrives or a model is given up.

        Raises:
            Interrupted: The grace period ended before all requests were answered.
            HftoolError: A model was given up.
        """
        loop = self._loop = asyncio.get_running_loop()
        # handlers are needed in a container, too: its first process ignores signals that have none
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # on Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(self._on_signal, n))
        for served in self.service.models.values():
            served.batcher.on_fatal = functools.partial(self._on_fatal, served.batcher)
            served.batcher.start()
        serving = asyncio.ensure_future(self.server.serve(sockets=[self.listening]))
        waiting = asyncio.ensure_future(self._wait_ready())
        await asyncio.wait({serving, asyncio.ensure_future(self._ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        clean = await self._drain()
        stopped: list[bool] = []
        threads = [
            threading.Thread(target=lambda b=served.batcher: stopped.append(b.stop()), daemon=True)
            for served in self.service.models.values()
        ]
        for thread in threads:  # requests still in flight get 503 from this
            thread.start()
        await asyncio.sleep(TICK)
        self.server.should_exit = True
        await serving
        until = time.monotonic() + SEND_GRACE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._end(clean=clean, stopped=len(stopped) == len(threads) and all(stopped))

    async def _wait_ready(self) -> None:
        while not (self.service.ready and self.server.started):
            await asyncio.sleep(TICK)
        self.on_ready()

    async def _drain(self) -> bool:
        """Refuse new requests, and wait for those in flight. Returns whether all of them were answered."""
        self.service.stopping = True
        grace = 0.0 if self.fatal else self.service.limits.grace
        until = time.monotonic() + grace
        drained = await asyncio.gather(*(served.batcher.drain(grace) for served in self.service.models.values()))
        while self.server.server_state.tasks and time.monotonic() < until:
            await asyncio.sleep(TICK)
        left = max(0.0, until - time.monotonic())
        self.server.config.timeout_graceful_shutdown = math.ceil(min(left, SEND_GRACE)) or 1
        return all(drained)

    def _end(self, *, clean: bool, stopped: bool) -> None:
        code = self.fatal_class.code if self.fatal else 0 if clean else 128 + self.signal
        if not stopped:  # a thread is still inside a long batch, at which a normal exit would abort
            atexit.register(os._exit, code)
        if self.fatal:
            raise self.fatal_class(f"the server gave up: {self.fatal}", "The lines above say what happened")
        if not clean:
            grace = self.service.limits.grace
            detail = f"stopped after {grace:g} s with requests unanswered"
            raise Interrupted(detail, "A longer --grace lets them end", signal_number=self.signal)

    def _on_signal(self, number: int) -> None:
        if self.signal:  # a second signal ends the process at once
            event("stopped", signal=number)
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(128 + number)
        self.signal = int(number)
        self.service.stopping = True
        event("stopping", signal=int(number))
        self._ending.set()

    def _on_fatal(self, batcher: Batcher, why: str) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._give_up, why, batcher.fatal_class)

    def _give_up(self, why: str, kind: type[HftoolError]) -> None:
        self.fatal, self.fatal_class = why, kind
        self._ending.set()


def run(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until the process is stopped. Raises as `Process.run`."""
    _raise_file_limit()

    async def _main() -> None:
        await Process(service, listening, on_ready).run()

    gc.freeze()  # the models stay to the end; a collection at exit would visit them (freeze in benchmarks/serve_tricks.py)
    try:
        asyncio.run(_main())
    finally:
        gc.freeze()


def event(name: str, **more: Any) -> None:
    """Log an event of the server, as opposed to a request."""
    if LOG.isEnabledFor(logging.INFO):
        LOG.info(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **more}))


def _raise_file_limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        target = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
        if soft < target:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
