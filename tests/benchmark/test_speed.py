"""The speed beside transformers does not fall: on the machine of benchmarks/results/speed_ratios.json."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hftool.machine import this_machine

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed_ratios.json"
LEAST = 0.85  # of a stored ratio


def fallen(times, stored):
    """The kinds of work whose ratio is too far below the stored one."""
    return {kind: (times[kind], ratio) for kind, ratio in stored.items() if times[kind] < LEAST * ratio}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_ratio_falls_by_more_than_15_percent(tmp_path):
    """A machine that is busy measures again: only what is slow twice is slow."""
    machine = this_machine()
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"machine": {}}
    if [stored["machine"].get(name) for name in ("processor", "threads")] != [machine.processor, machine.threads]:
        pytest.skip("no ratios of this machine are stored: `make bench` measures them")
    for number in range(2):
        out = tmp_path / f"{number}.json"
        script = ROOT / "benchmarks" / "speed_ratios.py"
        subprocess.run([sys.executable, script, "--rounds", "3", "--out", out], check=True, cwd=ROOT / "benchmarks")
        found = fallen(json.loads(out.read_text(encoding="utf-8"))["times"], stored["times"])
        if not found:
            break
    assert found == {}


def test_a_ratio_that_falls_is_found():
    assert fallen({"infer": 4.2, "train": 3.5}, {"infer": 5.0, "train": 4.0}) == {"infer": (4.2, 5.0)}
