"""Classified texts per second in one process, and their accuracy: hftool, transformers' pipeline, and other engines.

    python benchmarks/ask_classify.py RUN TEXTS.tsv [--rounds 5] [--out results/ask_classify.json]
                                      [--against pipeline onnxruntime inductor openvino ctranslate2 zentorch]

RUN is a fine-tuned BERT or RoBERTa classifier; TEXTS.tsv has a column of texts, and one of labels if accuracies are asked for.
This is `hftool bench infer` with these arms, each in a separate process; the arms take turns, and the time of each includes its
tokenization, but not its first run, in which engines compile:

hftool       what every verb and the server run by default
fp32, bf16   the same with --precision fp32 and bf16
pipeline     pipeline("text-classification"), as its documentation uses it (one text at a time), and with batch_size=32
openvino     the model converted by OpenVINO, rows sorted by length, batches of 32; its default bf16, and fp32
onnxruntime  the graph of `hftool export`, in fp32 and with --quantize int8, batches as for openvino
inductor     torch.compile with frozen weights, in bf16, batches as for openvino
ctranslate2  its encoder with weights of 8 bits, batches as for openvino
zentorch     torch.compile with AMD's backend, weights in bf16, batches as for openvino

Before a time is printed, the labels of each arm are compared with those of the padded model in fp32. R is the rate of products
that was measured in the same run. Peers are imported only if they are named; hftool needs none of them.
"""

import argparse
import json

from serving import save_result

from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import PEERS, Job

NAMES = {
    "hftool fp32": "fp32",
    "hftool bf16": "bf16",
    "pipeline in batches": "pipeline, batch 32",
}  # in the results, where they differ
ALL = 10**9


def main() -> None:
    peers = [name for name, peer in PEERS.items() if "infer" in peer.variants]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=ALL, help="after which no further round starts")
    parser.add_argument("--against", nargs="*", default=[], choices=peers)
    parser.add_argument("--out")
    given = parser.parse_args()
    more = {
        "against": given.against,
        "precisions": ("auto", "fp32", "bf16"),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "limit": ALL,
    }
    found = run_benchmark(
        Job("infer", given.run, file=given.texts, offline=True, **more), progress=lambda event: print(event.text, flush=True)
    )
    arms = {NAMES.get(name, name): arm for name, arm in found["arms"].items()}
    result = {
        "texts": found["work"]["rows"],
        "rounds": found["rounds"],
        "agreement": {name: arm["same"] for name, arm in arms.items()},
        "accuracy": {name: arm["accuracy"] for name, arm in arms.items() if "accuracy" in arm},
        "texts_per_second": {name: round(arm["rate"], 1) for name, arm in arms.items()},
        "range": {name: [round(one, 1) for one in arm["spread"]] for name, arm in arms.items()},
        "first_seconds": {name: round(arm["first_seconds"], 1) for name, arm in arms.items()},
        "left_out": found["left_out"],
        "times": {NAMES.get(name, name): round(times, 2) for name, times in found["times"].items()},
        "R_gflops": {name: found["machine_rates"][name] for name in ("fp32", "bf16", "fp16")},
    }
    print(
        json.dumps(
            {key: result[key] for key in ("accuracy", "texts_per_second", "first_seconds", "times", "left_out")}, indent=1
        )
    )
    save_result(given.out, result)


if __name__ == "__main__":
    main()
