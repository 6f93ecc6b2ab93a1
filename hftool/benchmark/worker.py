"""The process of one arm: reads commands as lines of JSON on stdin, and answers each with one line on stdout.

Started as `python -m hftool.benchmark.worker` by `process.py`. The first line is the job and the arm; an arm without an engine
is the reference, with which outputs are compared. What libraries print goes to stderr.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from hftool.benchmark.arm import Arm, Outcome, Work
from hftool.benchmark.job import OURS, Job
from hftool.benchmark.rates import machine_rates, reset_peak
from hftool.errors import HftoolError

Answer = dict[str, Any]


def open_work(job: Job) -> Work:
    """The work of a job."""
    module = importlib.import_module(f"hftool.benchmark.{job.kind}")
    work: Work = module.open_work(job)
    return work


def open_arm(work: Work, job: Job, engine: str, variant: str) -> Arm:
    """The arm of an engine. Raises UsageError where the engine cannot do the work."""
    if engine == OURS:
        return work.ours(variant)
    peer = importlib.import_module(f"hftool.benchmark.peers.{engine}")
    arm: Arm = getattr(peer, job.kind)(work, variant)
    return arm


def commands_of_reference(work: Work) -> dict[str, Callable[[Any], Answer]]:
    """The commands of the process that outputs are compared in."""
    return {
        "facts": lambda _: work.facts(),
        "rates": lambda _: dict(machine_rates()),
        "compare": lambda value: work.compare(*value),
    }


def commands_of_arm(arm: Arm, preparing: float = 0.0) -> dict[str, Callable[[Any], Answer]]:
    """The commands of the process of an arm. preparing: the seconds in which its engine was converted or loaded."""

    def _facts(_: Any) -> Answer:
        counts = arm.counts
        return {
            "format": arm.number_format,
            "weight_bytes": arm.weight_bytes,
            "padding": counts.padding,
            "forwards": counts.forwards,
            "peak_memory": arm.memory(),
        }

    def _compared(_: Any) -> Answer:
        start = time.perf_counter()
        outputs = arm.run().outputs
        first = time.perf_counter() - start
        reset_peak()
        return {"outputs": outputs, "first": preparing + first}

    def _timed(_: Any) -> Answer:
        arm.counts.real = arm.counts.computed = arm.counts.forwards = 0
        outcome: Outcome = arm.run()
        return {"units": outcome.units, "seconds": outcome.seconds}

    return {"facts": _facts, "outputs": _compared, "round": _timed}


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[Any]:
    """A handle to stdout, which the libraries then share with stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as handle:
        os.dup2(2, 1)
        yield handle


def main() -> None:
    """Answer commands until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with _quiet_stdout() as out:

        def _reply(answer: Answer) -> None:
            out.write(json.dumps(answer) + "\n")
            out.flush()

        first = json.loads(sys.stdin.readline())
        work: Work | None = None
        try:
            job, engine = Job(**first["job"]), first["engine"]
            work = open_work(job)
            start = time.perf_counter()
            arm = open_arm(work, job, engine, first["variant"]) if engine else None
            known = commands_of_arm(arm, time.perf_counter() - start) if arm else commands_of_reference(work)
            _reply({})
            for line in sys.stdin:
                name, value = json.loads(line)
                _reply(known[name](value))
        except HftoolError as error:
            _reply({"error": error.as_json()})
        finally:
            if work is not None:
                work.close()


if __name__ == "__main__":
    main()
