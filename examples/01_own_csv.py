"""Train a classifier on a CSV of your own, evaluate it, and predict a file."""

import csv
import tempfile
from pathlib import Path

import hftool

folder = Path(tempfile.mkdtemp(prefix="hftool-example-"))

# 1. The data: any CSV with a column of text and a column of labels. Use hundreds of rows for each label.
TICKETS = {
    "billing": [
        "The invoice shows the wrong amount",
        "I was charged twice this month",
        "Please send me a receipt for March",
        "My card was declined although it is valid",
        "How do I get a refund?",
        "The price on the bill is not what I agreed to",
    ],
    "support": [
        "The app closes when I open a photo",
        "I cannot log in since the update",
        "The screen stays black after the start",
        "Search returns no results at all",
        "The export button does nothing",
        "Notifications arrive hours late",
    ],
}
with open(folder / "tickets.csv", "w", newline="", encoding="utf-8") as handle:
    writer = csv.writer(handle)
    writer.writerow(["message", "team"])
    writer.writerows((message, team) for team, messages in TICKETS.items() for message in messages)

# 2. Fine-tune. "bert-mini" comes with hftool; take "bert", a Hub id or a model folder for real work.
result = hftool.finetune(
    "bert-mini",
    folder / "tickets.csv",
    config={
        "columns": {"text": "message", "label": "team"},
        "epochs": 10,
        "batch_size": 4,
        "lr": 1e-3,
        "patience": 0,
    },
    out=folder / "run",
    offline=True,
)
print("run:", result.run.path)

# 3. Evaluate: metrics with their counts, and the rows that are wrong.
report = hftool.evaluate(result.run.path, split="validation")
print("accuracy", report.metrics["accuracy"], "of", report.metrics["rows"], "rows;", len(report.errors), "wrong")

# 4. Ask.
model = hftool.load(result.run.path)
messages = ["Why was I charged for two months?", "The app closes on my phone"]
for message, answer in zip(messages, hftool.classify(model, messages), strict=True):
    print(f"{answer['label']:<9} {answer['probability']:.2f}  {message}")

# 5. Predict a whole file: rows stay in order, and all columns of the input are kept.
hftool.predict(result.run.path, folder / "tickets.csv", out=folder / "scored.csv")
print((folder / "scored.csv").read_text(encoding="utf-8").splitlines()[1])
