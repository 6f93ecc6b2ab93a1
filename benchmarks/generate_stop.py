"""Microseconds a token that the search for a stop string takes, as the text grows; the stop string never occurs.

    python benchmarks/generate_stop.py [--rounds 5] [--out FILE]

Both questions of a stream are asked after a token: whether the text ends there, and which tokens are certain to be part of it.
The tokens are those of the bundled GPT-2's tokenizer. Beside it stands decoding the whole text twice, as earlier versions did.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from transformers import AutoTokenizer

import hftool
from hftool.inference.stopping import StoppingCriteria
from hftool.machine import this_machine
from hftool.models.head_config import package_versions

RESULTS = Path(__file__).parent / "results" / "generate_stop.json"
MODEL = Path(hftool.__file__).parent / "assets" / "models" / "gpt2-mini"
STOP = "\n\nQ:"
TEXT = "A film. It was the funny thing they asked for, and more of it. "
REPEATS = 50


def microseconds(function: Callable[[], object]) -> float:
    """The time of a call."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        function()
    return (time.perf_counter() - start) / REPEATS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"] * 100
    stopping = StoppingCriteria(frozenset(), (STOP,), tokenizer)
    lengths: dict[str, dict[str, float]] = {}
    for length in (100, 1000):
        known = ids[:length]
        arms: dict[str, Callable[[], object]] = {
            "hftool": lambda known=known: (stopping.length_at_end(known), stopping.settled(known)),
            "whole": lambda known=known: (tokenizer.decode(known), tokenizer.decode(known)),
        }
        rounds = [{name: microseconds(arm) for name, arm in arms.items()} for _ in range(args.rounds)]
        lengths[str(length)] = {name: round(statistics.median(one[name] for one in rounds), 1) for name in arms}
        print(f"{length} tokens: {lengths[str(length)]} microseconds a token", flush=True)
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    facts = {"command": command, "machine": this_machine().as_dict(), "versions": package_versions()}
    args.out.write_text(json.dumps({"lengths": lengths, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
