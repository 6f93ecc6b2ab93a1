"""BERT from a checkpoint to an answer: load, tokenize, infer, finetune, evaluate, save.

Run it top to bottom with `python -m recipes.bert`, take a step alone with `from recipes import bert`, or make the file yours
with `hftool copy bert`. Each step is one call of `hftool.workflow`; the docstrings there tell what else it takes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.models import Loaded
from hftool.workflow import Report, Result, Tokens

MODEL = "bert"  # google-bert/bert-base-uncased; any BERT works here: a Hub id, a folder, a run
TASK = "sst2"  # film opinion; any file works here: reviews.csv


def load(model: str = MODEL, **options: Any) -> Loaded:
    """A model with a trained head, its tokenizer and its card. options: device, offline, fallback."""
    return workflow.load(model, **options)


def tokenize(texts: Sequence[str], model: str | Loaded = MODEL, **options: Any) -> list[Tokens]:
    """What each text becomes: tokens, ids, mask, and what was cut. options: max_length, offline, fallback."""
    return workflow.tokenize(model, texts, **options)


def infer(texts: Sequence[str], model: str | Loaded, **options: Any) -> list[dict[str, Any]]:
    """The label of each text, its probability, and the probabilities of all labels."""
    return workflow.infer(model, texts, **options)


def finetune(
    model: str = MODEL,
    task: str = TASK,
    *,
    out: str | Path | None = None,
    offline: bool = False,
    fallback: bool = False,
    **knobs: Any,
) -> Result:
    """Train on a task and keep the best checkpoint. knobs: epochs, lr, batch_size, seed and all of `hftool.config`."""
    return workflow.finetune(model, task, config=knobs, out=out, offline=offline, fallback=fallback)


def evaluate(model: str | Path, task: str | None = None, **options: Any) -> Report:
    """Metrics with their counts, and the rows that went wrong, worst first. Without a task: the run's own data."""
    return workflow.evaluate(str(model), task, **options)


def save(run: str | Path, out: str | Path, checkpoint: str = "best") -> Path:
    """Write a run's model as a plain Hugging Face folder."""
    return workflow.save(run, out=out, checkpoint=checkpoint)


if __name__ == "__main__":
    run = finetune(fallback=True).run  # fallback: without a network, MiniLM on bundled sentences stands in
    report = evaluate(run.path, on="validation")
    print("accuracy", report.metrics["accuracy"], "of", report.metrics["rows"], "rows")
    folder = save(run.path, out=run.path / "saved")
    sentences = ["A warm, funny film.", "Two hours I will never get back."]
    print(tokenize(sentences, str(folder))[0].tokens)
    for sentence, answer in zip(sentences, infer(sentences, load(str(folder))), strict=True):
        print(f"{answer['label']} {answer['probability']:.3f} {sentence}")
