"""Classified texts per second in one process: hftool, transformers' pipeline, and OpenVINO with its default bf16.

    python benchmarks/ask_classify.py RUN TEXTS.tsv [--rounds 5] [--against pipeline openvino] [--out results/ask_classify.json]

RUN is a fine-tuned BERT or RoBERTa classifier; TEXTS.tsv has a column of texts. This is `hftool bench infer` with these arms,
each in a separate process; the arms take turns, and the time of each includes its tokenization:

hftool       what every verb and the server run by default
fp32         the same with --precision fp32
pipeline     pipeline("text-classification"), as its documentation uses it (one text at a time), and with batch_size=32
openvino     the model converted by OpenVINO, rows sorted by length, batches of 32

Before a time is printed, the labels of each arm are compared with those of the padded model in fp32. R is the rate of products
that was measured in the same run. Peers are imported only if they are named; hftool needs none of them.
"""

import argparse
import json

from serving import save_result

from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import Job

NAMES = {"hftool fp32": "fp32", "pipeline in batches": "pipeline, batch 32"}  # in the results, where they differ
ALL = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", nargs="*", default=[], choices=("pipeline", "openvino"))
    parser.add_argument("--out")
    given = parser.parse_args()
    more = {"against": given.against, "precisions": ("auto", "fp32"), "rounds": given.rounds, "seconds": ALL, "limit": ALL}
    found = run_benchmark(
        Job("infer", given.run, file=given.texts, offline=True, **more), progress=lambda event: print(event.text, flush=True)
    )
    arms = {NAMES.get(name, name): arm for name, arm in found["arms"].items()}
    result = {
        "texts": found["work"]["rows"],
        "agreement": {name: arm["same"] for name, arm in arms.items()},
        "texts_per_second": {name: round(arm["rate"], 1) for name, arm in arms.items()},
        "range": {name: [round(one, 1) for one in arm["spread"]] for name, arm in arms.items()},
        "times": {NAMES.get(name, name): round(times, 2) for name, times in found["times"].items()},
        "R_gflops": {name: found["machine_rates"][name] for name in ("fp32", "bf16", "fp16")},
    }
    print(json.dumps({key: result[key] for key in ("texts_per_second", "times")}, indent=1))
    save_result(given.out, result)


if __name__ == "__main__":
    main()
