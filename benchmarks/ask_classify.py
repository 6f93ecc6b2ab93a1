"""Classified texts per second in one process: hftool, transformers' pipeline, and OpenVINO with its default bf16.

    python benchmarks/ask_classify.py RUN TEXTS.tsv [--rounds 5] [--against pipeline openvino] [--out results/ask_classify.json]

RUN is a fine-tuned BERT or RoBERTa classifier; the texts stand in the first column of a table with a header. The arms
take turns, and the time of each includes its tokenization:

hftool       what every verb and the server run by default
fp32         the same with --precision fp32
pipeline     pipeline("text-classification"), as its documentation uses it (one text at a time), and with batch_size=32
openvino     the model converted by OpenVINO, rows sorted by length, batches of 32

Before a time is printed, the labels of each arm are compared with those of the padded model in fp32. R is the rate of products
in bf16 that was measured in the same run; an encoder needs 2 operations for each weight and token. Peers are imported only if
they are named; hftool needs none of them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from serving import save_result

from hftool import workflow
from hftool.machine import speeds

BATCH = 32
Arm = Callable[[Sequence[str]], list[str]]


def hftool_arm(run: str, precision: str) -> Arm:
    model = workflow.load(run, precision=precision, offline=True)
    return lambda texts: [answer["label"] for answer in workflow.classify(model, list(texts))]


def padded_labels(run: str, texts: Sequence[str]) -> list[str]:
    """The labels of the model of transformers, one text at a time in fp32."""
    loaded = workflow.load(run, precision="fp32", offline=True)
    labels = []
    for text in texts:
        inputs = loaded.tokenizer(text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            labels.append(loaded.head_config.labels[int(loaded.model(**inputs).logits.argmax())])
    return labels


def pipeline_arm(run: str, batch: int) -> Arm:
    from transformers import pipeline

    loaded = workflow.load(run, offline=True)
    ask = pipeline("text-classification", model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    names = {loaded.model.config.id2label[i]: label for i, label in enumerate(loaded.head_config.labels)}
    more = {"batch_size": batch} if batch > 1 else {}
    return lambda texts: [names[answer["label"]] for answer in ask(list(texts), **more)]


def openvino_arm(run: str) -> Arm:
    import openvino

    loaded = workflow.load(run, offline=True)
    example = dict(loaded.tokenizer(["an example", "a longer example"], padding=True, return_tensors="pt"))
    compiled = openvino.compile_model(openvino.convert_model(loaded.model, example_input=example), "CPU")
    labels = loaded.head_config.labels

    def _ask(texts: Sequence[str]) -> list[str]:
        ids = loaded.tokenizer(list(texts), truncation=True, return_attention_mask=False)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        answers = [""] * len(texts)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inputs = loaded.tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="np")
            given = {name: inputs[name] if name in inputs else 0 * inputs["input_ids"] for name in example}
            for i, best in zip(rows, compiled(given)[0].argmax(-1), strict=True):
                answers[i] = labels[int(best)]
        return answers

    return _ask


def make_arms(run: str, against: Sequence[str]) -> dict[str, Arm]:
    arms = {"hftool": hftool_arm(run, "auto"), "fp32": hftool_arm(run, "fp32")}
    if "pipeline" in against:
        arms |= {"pipeline": pipeline_arm(run, 1), f"pipeline, batch {BATCH}": pipeline_arm(run, BATCH)}
    if "openvino" in against:
        arms["openvino"] = openvino_arm(run)
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", nargs="*", default=[], choices=("pipeline", "openvino"))
    parser.add_argument("--out")
    given = parser.parse_args()
    texts = [line.split("\t")[0] for line in given.texts.read_text(encoding="utf-8").splitlines()[1:]]
    arms, expected = make_arms(given.run, given.against), padded_labels(given.run, texts)
    agreement = {name: sum(map(str.__eq__, arm(texts), expected)) / len(texts) for name, arm in arms.items()}
    print("labels as in fp32:", {name: f"{share:.2%}" for name, share in agreement.items()}, flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(given.rounds):
        for name, arm in arms.items():
            start = time.perf_counter()
            arm(texts)
            seconds[name].append(time.perf_counter() - start)
        print(f"round {number + 1}:", {name: f"{len(texts) / spent[-1]:.0f}" for name, spent in seconds.items()}, flush=True)
    rates = {name: [len(texts) / one for one in spent] for name, spent in seconds.items()}
    result: dict[str, Any] = {
        "texts": len(texts),
        "agreement": agreement,
        "texts_per_second": {name: round(statistics.median(one), 1) for name, one in rates.items()},
        "range": {name: [round(min(one), 1), round(max(one), 1)] for name, one in rates.items()},
        "times": {
            name: round(statistics.median([a / b for a, b in zip(rates["hftool"], one, strict=True)]), 2)
            for name, one in rates.items()
            if name != "hftool"
        },
        "R_gflops": speeds("cpu"),
    }
    print(json.dumps({key: result[key] for key in ("texts_per_second", "times")}, indent=1))
    save_result(given.out, result)


if __name__ == "__main__":
    main()
