"""Fine-tune T5 on pairs of texts, and generate with greedy decoding and beam search."""

import json
import tempfile
from pathlib import Path

import hftool

folder = Path(tempfile.mkdtemp(prefix="hftool-example-"))

# 1. The data: a source and a target in each row.
NOTES = [
    ("The heating in room 4 failed at night; the plumber came at nine and replaced a valve.", "Heating repaired"),
    ("Two parcels for the second floor arrived without a name on them.", "Parcels without names"),
    ("The lift stops between floors; the company sends somebody tomorrow.", "Lift out of order"),
    ("Nobody found the key to the bicycle cellar, so the lock was changed.", "New lock in the cellar"),
    ("The window on the stairs is broken and was covered with a board.", "Broken window"),
    ("The garden will be watered by the caretaker during the holidays.", "Garden in the holidays"),
]
lines = [json.dumps({"note": note, "title": title}) for note, title in NOTES]
(folder / "notes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

# 2. Fine-tune. t5-mini has 2.8 M parameters and shows the steps only: take "t5" or "flan-t5-small" for texts worth reading.
result = hftool.finetune(
    "t5-mini",
    folder / "notes.jsonl",
    config={"columns": {"source": "note", "target": "title"}, "max_steps": 60, "batch_size": 4, "lr": 1e-3},
    out=folder / "run",
    offline=True,
)
print("ROUGE-L on validation", result.metrics["validation"]["rougeL"])

# 3. Greedy decoding: the most probable token at each step.
model = hftool.load(result.run.path)
[greedy] = hftool.summarize(model, ["The printer is out of paper."], max_new_tokens=10)
print("greedy:", greedy["text"])

# 4. Beam search: the best of several hypotheses.
[searched] = hftool.summarize(model, ["The printer is out of paper."], max_new_tokens=10, num_beams=4)
print("beams: ", searched["text"])
