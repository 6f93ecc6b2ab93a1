"""transformers' pipeline: one text at a time, as its documentation uses it, or in batches as given."""

from collections.abc import Callable, Iterable
from typing import Any

from hftool.benchmark.arm import Arm, Counts, bytes_of
from hftool.benchmark.floor import Shape
from hftool.benchmark.infer import InferWork
from hftool.errors import UsageError
from hftool.heads.protocol import Answer
from hftool.models.head_config import SINGLE
from hftool.registry.heads import head_spec

HEADS = ("classify", "fill")  # whose answers a pipeline gives in the same form


def infer(work: InferWork, variant: str) -> Arm:
    """The pipeline of the head. variant: "in batches", or "" for single texts."""
    from transformers import pipeline

    loaded, counts = work.loaded, Counts()
    head = loaded.head_config.head
    other = head == "classify" and loaded.head_config.problem_type != SINGLE
    if head not in HEADS or other or "text" not in work.rows[0] or len(work.rows[0]) > 1:
        raise UsageError(
            f"no pipeline gives the answers of a model that is to {head}"
            + " pairs, several labels or numbers" * (head in HEADS)
        )
    make: Any = pipeline  # its overloads are by task
    ask = make(head_spec(head).pipeline_tag, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    loaded.model.register_forward_pre_hook(_counter(counts), with_kwargs=True)
    texts = [row["text"] for row in work.rows]
    options: dict[str, Any] = {"batch_size": work.job.batch} if variant else {}
    options |= {"truncation": True, "max_length": loaded.head_config.max_length} if head == "classify" else {}
    answers = _labels(loaded) if head == "classify" else _fills

    def _run() -> Iterable[Answer]:
        return answers(ask(texts, **options))

    return Arm(lambda: work.outcome(_run), "fp32", Shape.of(loaded.model).weights * bytes_of("fp32"), counts)


def _counter(counts: Counts) -> Callable[..., None]:
    def _count(module: Any, args: Any, kwargs: Any) -> None:
        counts.add(kwargs["attention_mask"])

    return _count


def _labels(loaded: Any) -> Callable[[Any], list[Answer]]:
    names = {loaded.model.config.id2label[i]: label for i, label in enumerate(loaded.head_config.labels)}
    return lambda found: [{"label": names[answer["label"]]} for answer in found]


def _fills(found: Any) -> list[Answer]:
    """The best fill of each mask; a text with several masks has a list for each."""
    masks = [one if isinstance(one[0], list) else [one] for one in found]
    return [{"masks": [{"fills": [{"token": mask[0]["token_str"]}]} for mask in text]} for text in masks]
