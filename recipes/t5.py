"""T5 from a checkpoint to an answer: load, tokenize, infer, finetune, evaluate, save, deploy, serve.

It turns a text into another: summaries, translations; its encoder labels and embeds.
Run it top to bottom with `python -m recipes.t5`, take a step alone with `from recipes import t5`, or make the file
yours with `hftool copy t5`. Each step is one call of `hftool.workflow`, whose docstrings tell all that may go wrong.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.models import Loaded
from hftool.workflow import Report, Result, Tokens

MODEL = "t5"  # google-t5/t5-small; any T5 works here: a Hub id, a folder, a run
TASK = "dialogsum"  # conversations and what was said; any file with two columns works here: letters.csv


def load(
    model: str | Path = MODEL, *, head: str | None = None, device: str = "auto", offline: bool = False, fallback: bool = False
) -> Loaded:
    """A model, its tokenizer and its card. head: text2text, classify or embed; by default what it was trained for.

    A model whose head is not trained yet can be looked at, but does not answer.
    """
    return workflow.load(model, head=head, device=device, offline=offline, fallback=fallback)


def tokenize(model: Loaded, texts: Sequence[str], *, max_length: int | None = None) -> list[Tokens]:
    """What each text becomes: tokens, ids, mask, and what was cut."""
    return workflow.tokenize(model, texts, max_length=max_length)


def infer(model: Loaded, texts: Sequence[str], **sampling: float | str) -> list[dict[str, Any]]:
    """The text that the model makes of each text, with the prefix that it was trained with.

    decoding: max_new_tokens, temperature, top_k, top_p, beams, samples, seed, all of `hftool.workflow.Decoding`.
    """
    return workflow.infer(model, texts, sampling=sampling)


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
    """Metrics with their counts, and the rows that went wrong, worst first. Without a task: the run's own data."""
    return workflow.evaluate(model, task, split=split)


def save(run: str | Path, out: str | Path, *, checkpoint: str = "best") -> Path:
    """Write a run's model as a plain Hugging Face folder."""
    return workflow.save(run, out=out, checkpoint=checkpoint)


def deploy(run: str | Path, *, to: str = "onnx", quantize: str | None = None, out: str | Path | None = None) -> Path:
    """Write what runs elsewhere: onnx (quantize: int8), docker or kubernetes; by default into the run. Extra [export]."""
    return workflow.deploy(run, to=to, quantize=quantize, out=out).path


def serve(*models: str | Path, port: int = 8000) -> None:
    """Answer over HTTP, and on a page for people, until the process is told to end. Extra [serve]."""
    workflow.serve([str(model) for model in models], port=port)


if __name__ == "__main__":
    result = finetune(fallback=True, epochs=2)  # fallback: without a network, a small model stands in, and says so
    report = evaluate(result.run.path)
    print("ROUGE-L", report.metrics["rougeL"], "of", report.metrics["rows"], "rows")
    model = load(save(result.run.path, out=result.run.path / "saved"))
    talks = ["#Person1#: Is the shop open?\n#Person2#: Yes, until six.\n#Person1#: Good, I need bread."]
    print(tokenize(model, talks)[0].tokens)
    for answer in infer(model, talks, max_new_tokens=30):
        print(answer["text"])
