"""Train a tagger for named entities and read entities with their offsets."""

import tempfile
from pathlib import Path

import hftool

folder = Path(tempfile.mkdtemp(prefix="hftool-example-"))

# 1. The data: rows of "tokens" and "tags", or a CoNLL file. "entities-mini" comes with hftool: 200 rows to train.
# 2. Fine-tune. Eight epochs of a small model take seconds; a real model needs a smaller learning rate.
result = hftool.finetune(
    "bert-mini",
    "entities-mini",
    config={"epochs": 8, "batch_size": 8, "lr": 1e-3, "patience": 0},
    out=folder / "run",
    offline=True,
)

# 3. Evaluate: precision, recall and F1 of whole entities, as seqeval counts them.
report = hftool.evaluate(result.run.path, split="test")
print("entity F1", round(report.metrics["entity_f1"], 3), "of", report.metrics["rows"], "rows")

# 4. Ask. start and end are character offsets in the text as it was given.
text = "Amina Okafor flew to Lisbon in June."
[answer] = hftool.tag(hftool.load(result.run.path), [text])
for entity in answer["entities"]:
    assert text[entity["start"] : entity["end"]] == entity["text"]
    print(f"{entity['type']:<13} {entity['text']}  ({entity['start']}-{entity['end']})")
