"""Seconds from a command to its first answer, or its first step, beside the bare imports that it needs.

    python benchmarks/start_up.py RUN [--rounds 7] [--verbs classify generate ...] [--out results/start_up.json]

RUN is a fine-tuned BERT classifier. Each arm is a fresh process, and the arms take turns: `bare`, which imports torch,
transformers and the classes of the model, then the verb itself, offline and with small inputs. `finetune` ends with its first
step, `serve` with the first answer of /readyz. Each round gives one difference; the median of the differences is the figure.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from serving import free_port, save_result

BERT = "import torch, transformers; from transformers import BertForSequenceClassification, BertTokenizer"
GPT2 = "import torch, transformers; from transformers import GPT2LMHeadModel, GPT2Tokenizer"
SKLEARN = f"{BERT}; import sklearn.metrics"  # what the metrics of `evaluate` are computed by
FIRST_STEP = """
import os, sys
from hftool import workflow
workflow.finetune("bert-mini", "sst2-mini", out=sys.argv[1], config={"max_steps": 1, "limit": 100}, offline=True,
                  progress=lambda event: os._exit(0) if event.kind == "step" else None)
"""


def command_of(verb: str, run: str, folder: Path) -> tuple[str, list[str]]:
    """The bare imports of a verb, and the arguments of Python for it."""
    rows, hftool = folder / "rows.csv", ["-m", "hftool", verb]
    rows.write_text("text,label\na good film,positive\na bad film,negative\n", encoding="utf-8")
    (folder / "out.csv").unlink(missing_ok=True)
    commands = {
        "classify": (BERT, [*hftool, run, "a text", "--offline"]),
        "embed": (BERT, [*hftool, "bert-mini", "a text", "--offline"]),
        "fill": (BERT, [*hftool, "bert-mini", "a [MASK] film", "--offline"]),
        "generate": (GPT2, [*hftool, "gpt2-mini", "Once", "--max-new-tokens", "1", "--offline"]),
        "predict": (BERT, [*hftool, run, str(rows), "--out", str(folder / "out.csv"), "--offline"]),
        "evaluate": (SKLEARN, [*hftool, run, str(rows), "--out", str(folder / "errors.jsonl"), "--offline"]),
        "finetune": (BERT, ["-c", FIRST_STEP, str(Path(tempfile.mkdtemp(dir=folder)) / "run")]),
        "serve": (BERT, [*hftool, run, "--port", str(free_port()), "--offline", "--quiet"]),
    }
    return commands[verb]


def seconds_of(arguments: list[str], *, ready: str = "") -> float:
    """The time of a fresh process until it ends, or until this address answers."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        if not ready:
            if process.wait() != 0:
                raise SystemExit(f"this failed: {arguments}")
            return time.perf_counter() - start
        while process.poll() is None:
            try:
                urllib.request.urlopen(ready, timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        spent = time.perf_counter() - start
        process.terminate()
    return spent


def main() -> None:
    verbs = ("classify", "embed", "fill", "generate", "predict", "evaluate", "finetune", "serve")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--verbs", nargs="*", default=list(verbs), choices=verbs)
    parser.add_argument("--out")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        bares: dict[str, list[float]] = {verb: [] for verb in given.verbs}
        ours: dict[str, list[float]] = {verb: [] for verb in given.verbs}
        for _ in range(given.rounds):
            measured: dict[str, float] = {}
            for verb in given.verbs:
                bare, arguments = command_of(verb, given.run, Path(folder))
                measured[bare] = measured.get(bare) or seconds_of(["-c", bare])
                ready = f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}/readyz" if verb == "serve" else ""
                bares[verb].append(measured[bare])
                ours[verb].append(seconds_of(arguments, ready=ready))
        for verb in given.verbs:
            over = [ours_one - bare for ours_one, bare in zip(ours[verb], bares[verb], strict=True)]
            found[verb] = {
                "bare_seconds": round(statistics.median(bares[verb]), 2),
                "seconds": round(statistics.median(ours[verb]), 2),
                "over_bare": round(statistics.median(over), 2),
                "range": [round(min(over), 2), round(max(over), 2)],
            }
    print(json.dumps(found, indent=1))
    save_result(given.out, {"rounds": given.rounds, "verbs": found})


if __name__ == "__main__":
    main()
