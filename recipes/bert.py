"""BERT from a checkpoint to an answer: load, tokenize, infer, finetune, evaluate, save, deploy, serve.

It labels texts and pairs, tags words, answers questions from a context, fills masks and embeds.
Run it top to bottom with `python -m recipes.bert`, take a step alone with `from recipes import bert`, or make the file
yours with `hftool copy bert`. Each step is one call of `hftool.workflow`, whose docstrings list the errors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.models import Loaded
from hftool.workflow import Report, Result, Tokens

MODEL = "bert"  # google-bert/bert-base-uncased; any BERT works here: a Hub id, a folder, a run
TASK = "sst2"  # film opinion; any file works here: reviews.csv


def load(
    model: str | Path = MODEL, *, head: str | None = None, device: str = "auto", offline: bool = False, fallback: bool = False
) -> Loaded:
    """Load a model with its tokenizer. head: classify, tag, answer, fill or embed; by default what it was trained for.

    A model whose head is not trained yet can be tokenized with and inspected, but does not answer.
    """
    return workflow.load(model, head=head, device=device, offline=offline, fallback=fallback)


def tokenize(model: Loaded, texts: Sequence[str], *, max_length: int | None = None) -> list[Tokens]:
    """Tokenize texts as the model does: tokens, ids, attention mask, and the truncated tokens."""
    return workflow.tokenize(model, texts, max_length=max_length)


def infer(model: Loaded, texts: Sequence[str], *, pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One answer for each text: label, entities, tokens for a mask, or a vector. pairs: second texts, or contexts."""
    return workflow.infer(model, texts, pairs=pairs)


def finetune(
    model: str | Path = MODEL,
    task: str | Path = TASK,
    *,
    columns: Mapping[str, str] | None = None,
    head: str | None = None,
    out: str | Path | None = None,
    offline: bool = False,
    fallback: bool = False,
    **knobs: float | str | bool | None,
) -> Result:
    """Train on a task and keep the best checkpoint. knobs: epochs, lr, batch_size, seed, all of `hftool.config`."""
    config = {**knobs, "columns": columns or {}}
    return workflow.finetune(model, task, config=config, head=head, out=out, offline=offline, fallback=fallback)


def evaluate(model: str | Path, task: str | None = None, *, split: str | None = None) -> Report:
    """Metrics with their counts, and the wrong rows, worst first. Without a task: on the data of the run."""
    return workflow.evaluate(model, task, split=split)


def save(run: str | Path, out: str | Path, *, checkpoint: str = "best") -> Path:
    """Write a run's model as a plain Hugging Face folder."""
    return workflow.save(run, out=out, checkpoint=checkpoint)


def deploy(run: str | Path, *, to: str = "onnx", quantize: str | None = None, out: str | Path | None = None) -> Path:
    """Write a deployment: onnx (quantize: int8), docker or kubernetes; by default into the run. Extra [export]."""
    return workflow.deploy(run, to=to, quantize=quantize, out=out).path


def serve(*models: str | Path, port: int = 8000) -> None:
    """Serve over HTTP, with a web page, until the process is stopped. Extra [serve]."""
    workflow.serve([str(model) for model in models], port=port)


if __name__ == "__main__":
    result = finetune(fallback=True)  # fallback: without a network, MiniLM on bundled sentences stands in, with a notice
    report = evaluate(result.run.path, split="validation")
    print("accuracy", report.metrics["accuracy"], "of", report.metrics["rows"], "rows")
    model = load(save(result.run.path, out=result.run.path / "saved"))
    sentences = ["A warm, funny film.", "Two hours I will never get back."]
    print(tokenize(model, sentences)[0].tokens)
    for sentence, answer in zip(sentences, infer(model, sentences), strict=True):
        print(f"{answer['label']} {answer['probability']:.3f} {sentence}")
