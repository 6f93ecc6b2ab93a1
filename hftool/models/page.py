"""The README.md of a model folder, filled from its card."""

from pathlib import Path

from hftool.models.card import Card

PIPELINES = {  # https://huggingface.co/docs/hub/models-tasks
    "classify": "text-classification",
    "tag": "token-classification",
    "answer": "question-answering",
    "text2text": "text2text-generation",
    "generate": "text-generation",
    "fill": "fill-mask",
    "embed": "feature-extraction",
}
PAGE = """---
library_name: transformers
pipeline_tag: {pipeline}
{base_line}tags:
- hftool
---

# {task}

Fine-tuned from `{base}`{revision} with hftool for `{head}` on {task}.{stand_in}

{facts}

{metrics}

```python
from transformers import {model_class}, AutoTokenizer

model = {model_class}.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```
"""


def write_readme(folder: Path, card: Card, model_class: str) -> None:
    """Write the README.md. model_class: the class of transformers that loads the folder."""
    stood = "".join(f" A stand-in was used: {what} ({kind})." for kind, what in card.stand_in.items())
    hub_id = card.base if "/" in card.base and not card.base.startswith("/") else ""
    page = PAGE.format(
        pipeline=PIPELINES[card.head],
        base_line=f"base_model: {hub_id}\n" if hub_id else "",
        base=card.base,
        task=card.task,
        head=card.head,
        revision=f" at revision `{card.revision}`" if card.revision else "",
        stand_in=stood,
        facts=" ".join(_facts(card, model_class)),
        metrics=_table(card),
        model_class=model_class,
    )
    (folder / "README.md").write_text(page, encoding="utf-8")


def _facts(card: Card, model_class: str) -> list[str]:
    """What whoever loads it plainly must know to get the same answers."""
    facts = []
    if card.labels:
        facts.append("Labels, in id order: " + ", ".join(f"`{name}`" for name in card.labels) + ".")
    if card.label_range:
        facts.append(f"It was trained on numbers from {card.label_range[0]:g} to {card.label_range[1]:g}.")
    if card.head == "classify" and model_class.endswith("ForTokenClassification"):
        facts.append("The score of a text is the mean of its tokens' logits.")
    if card.head == "embed":
        facts.append(f"The vector of a text is the {card.pooling} of its tokens' last hidden states.")
    if card.prefix:
        facts.append(f"Before each text stands `{card.prefix}`.")
    return [*facts, f"Texts are cut at {card.max_length} tokens."]


def _table(card: Card) -> str:
    if not card.metrics:
        return "Not measured."
    lines = ["| split | rows | " + " | ".join(k for k in next(iter(card.metrics.values())) if k != "rows") + " |"]
    lines.append("|---" * lines[0].count(" | ") + "|---|")
    for split, values in card.metrics.items():
        cells = [f"{value:.4f}" for key, value in values.items() if key != "rows"]
        lines.append(f"| {split} | {values['rows']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
