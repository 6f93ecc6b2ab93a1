"""The process of an arm, seen from the one that measures."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from hftool.benchmark.job import OURS, ArmName, Job
from hftool.errors import HftoolError, brief

COMMAND = ("-m", "hftool.benchmark.worker")
PATIENCE = 20.0  # seconds in which a process ends by itself


class PeerFailed(Exception):
    """The process of an arm ended by itself; the message is the last line of its log."""


class ArmProcess:
    """A process that answers commands. It ends when its input is closed."""

    def __init__(self, job: Job, arm: ArmName | None, folder: Path, *, verbose: bool) -> None:
        self.log = tempfile.TemporaryFile(dir=folder)
        environment = {**os.environ, "TMPDIR": str(folder), "TOKENIZERS_PARALLELISM": "true", "PYTHONPATH": _python_path()}
        is_peer = arm is not None and arm.engine != OURS
        python = job.peer_python if is_peer and job.peer_python else sys.executable
        self.process = subprocess.Popen(  # noqa: S603  this interpreter or the user's, and this package
            [python, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else self.log,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        engine, variant = (arm.engine, arm.variant) if arm else ("", "")
        self._send({"job": asdict(job), "engine": engine, "variant": variant})
        self._receive()

    def ask(self, command: str, value: Any = None) -> dict[str, Any]:
        """The answer to a command. Raises the HftoolError of the process, and PeerFailed."""
        self._send([command, value])
        return self._receive()

    def _send(self, document: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(document) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close()
            raise _error_of(answer["error"])
        return answer

    def _failed(self) -> PeerFailed:
        """The error of a process that has ended: the last line of its log."""
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", errors="replace").strip().splitlines()
        self.close()
        return PeerFailed(lines[-1][:200] if lines else f"ended with {self.process.returncode}")

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()

    def __enter__(self) -> "ArmProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.process.kill()
        self.close()


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for the temporary files of the processes, removed at the end whatever becomes of them."""
    with tempfile.TemporaryDirectory(prefix="hftool-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _python_path() -> str:
    """The path of this interpreter, so that the process finds the same hftool."""
    return os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])


def _error_of(document: dict[str, Any]) -> HftoolError:
    """The error that a process reported."""
    pending: list[type[HftoolError]] = [HftoolError]
    while pending:
        kind = pending.pop()
        if kind.kind == document["kind"] and kind.code == document["code"] and kind.__name__ != "Interrupted":
            return kind(document["detail"], document["hint"])
        pending += kind.__subclasses__()
    return HftoolError(brief(Exception(document["detail"])), document["hint"])
