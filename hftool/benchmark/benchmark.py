"""The benchmark: arms in processes of their own, outputs compared first, then alternating rounds."""

import contextlib
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.benchmark.job import OURS, Job
from hftool.benchmark.process import ArmProcess, PeerFailed, work_folder
from hftool.errors import DataError, UsageError
from hftool.progress import Progress, notice, silent

Document = dict[str, Any]


@dataclass
class Running:
    """An arm that takes part."""

    name: str
    process: ArmProcess
    compared: Document
    first: float = 0.0  # seconds of converting or compiling, and of the first run
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def run_benchmark(job: Job, *, verbose: bool = False, progress: Progress = silent) -> Document:
    """Measure a job.

    Args:
        job: What is measured.
        verbose: Whether what the libraries print goes to stderr.
        progress: Receives a notice for each comparison and each round.

    Returns:
        The rows, the rates of the machine, and for each arm its rate, spread, padding, GFLOP/s, GB/s and peak memory; the arms
        that were left out, with the reason; hftool's rate as a multiple of each other.

    Raises:
        UsageError: Unknown words, or a package is not installed.
        DataError: The outputs of hftool are not those of fp32.
        HftoolError: What loading the model raises.
    """
    job.check()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        left_out: dict[str, str] = {}
        with ArmProcess(job, None, folder, verbose=verbose) as reference:
            facts = reference.ask("facts")
            notice(progress, f"{facts['rows']} rows of {facts['from']}; measuring products and memory")
            rates = reference.ask("rates")
            arms = _compared_arms(job, reference, stack, folder, left_out, verbose=verbose, progress=progress)
        rounds = run_rounds(job, arms, progress)
        return _document(job, facts, rates, arms, left_out, rounds)


def _compared_arms(
    job: Job,
    reference: ArmProcess,
    stack: contextlib.ExitStack,
    folder: Path,
    left_out: dict[str, str],
    *,
    verbose: bool,
    progress: Progress,
) -> list[Running]:
    """The arms whose outputs are those of the reference. Raises DataError where those of hftool are not."""
    arms = []
    for arm in job.arms():
        try:
            process = stack.enter_context(ArmProcess(job, arm, folder, verbose=verbose))
            found = process.ask("outputs")
            compared = reference.ask("compare", [str(arm), found["outputs"]])
        except PeerFailed as error:
            if arm.engine == OURS:
                raise DataError(f"the process of {arm} ended: {error}", "Repeat it with --verbose") from None
            left_out[str(arm)] = f"failed: {error}"
        except UsageError as error:
            if arm.engine == OURS:
                raise
            left_out[str(arm)] = error.detail
        else:
            if not compared["fault"]:
                arms.append(Running(str(arm), process, compared, found["first"]))
                notice(progress, f"{arm}: {agreement(compared)}")
                continue
            if arm.engine == OURS:
                raise DataError(f"{arm}: {compared['fault']}")
            left_out[str(arm)] = compared["fault"]
        notice(progress, f"{arm} is left out: {left_out[str(arm)]}")
    return arms


def agreement(compared: Mapping[str, Any]) -> str:
    """A comparison as text."""
    parts = [f"{compared['same']:.1%} of the outputs as in fp32"] if "same" in compared else []
    if "accuracy" in compared:
        parts.append(f"accuracy {compared['accuracy']:.4f}")
    if compared.get("gap"):
        parts.append(f"the first other token at a gap of {compared['gap']:.1%} of the largest logit")
    if "loss" in compared:
        parts.append(f"loss {compared['loss']:.4f} after training, {compared['before']:.4f} before")
    return "; ".join(parts)


def run_rounds(job: Job, arms: list[Running], progress: Progress) -> int:
    """Run the arms in turn -> the number of rounds. The first always runs."""
    end = time.monotonic() + job.seconds
    done = 0
    while done < job.rounds and (not done or time.monotonic() < end):
        for arm in arms:
            outcome = arm.process.ask("round")
            arm.rates.append(outcome["units"] / outcome["seconds"])
            arm.seconds.append(outcome["seconds"])
        done += 1
        shown = ", ".join(f"{arm.name} {arm.rates[-1]:.0f}" for arm in arms)
        notice(progress, f"round {done} of {job.rounds}: {shown} {job.unit}/s")
    if done < job.rounds:
        notice(progress, f"{done} of {job.rounds} rounds took {job.seconds:g} s; --seconds gives them more time")
    return done


def _document(
    job: Job, facts: Document, rates: Document, arms: list[Running], left_out: Mapping[str, str], rounds: int
) -> Document:
    """The result."""
    rows = {arm.name: _row(arm, facts, rates) for arm in arms}
    first = arms[0]
    times = {
        arm.name: round(statistics.median([a / b for a, b in zip(first.rates, arm.rates, strict=True)]), 3) for arm in arms[1:]
    }
    return {
        "kind": job.kind,
        "model": job.model,
        "unit": job.unit,
        "rounds": rounds,
        "work": facts,
        "machine_rates": rates,
        "floor": floors(facts, rates),
        "arms": rows,
        "times": times,
        "left_out": dict(left_out),
    }


def _row(arm: Running, facts: Document, rates: Document) -> Document:
    """One arm: medians and spread, beside what the machine allows."""
    known = arm.process.ask("facts")
    rate, spent = statistics.median(arm.rates), statistics.median(arm.seconds)
    gflops = facts["gflop"] * rate if facts.get("gflop") else None
    limit = rates.get(known["format"])
    traffic = known["weight_bytes"] * known["forwards"] / spent / 1e9 or None
    return {
        "rate": rate,
        "rates": arm.rates,
        "spread": [min(arm.rates), max(arm.rates)],
        **arm.compared,
        "number_format": known["format"],
        "padding": known["padding"],
        "gflop_s": gflops,
        "of_R": gflops / limit if gflops and limit else None,
        "gb_s": traffic,
        "of_B": traffic / rates["memory"] if traffic else None,
        "peak_memory": known["peak_memory"],
        "first_seconds": arm.first,
    }


def floors(facts: Document, rates: Document) -> Document:
    """The most units a second that products and memory allow in each number format.

    Weights are read while products are computed; the optimizer reads and writes its bytes after them.
    """
    found: Document = {}
    for name, width in (("fp32", 4), ("bf16", 2)):
        if not rates.get(name):
            found[name] = None
            continue
        memory = rates["memory"] * 1e9
        products, reads = facts["gflop"] / rates[name], facts.get("weights_of_unit", 0) * width / memory
        found[name] = 1 / (max(products, reads) + facts.get("bytes_of_unit", 0) / memory)
    return found
