"""Train a model that answers questions with a span of a context."""

import tempfile
from pathlib import Path

import hftool

folder = Path(tempfile.mkdtemp(prefix="hftool-example-"))

# 1. The data: rows of "question", "context" and "answers" (texts and start offsets), as SQuAD. "squad-mini" comes with hftool.
# 2. Fine-tune for two epochs: enough to see the steps, not enough for good answers.
result = hftool.finetune(
    "bert-mini",
    "squad-mini",
    config={"epochs": 2, "batch_size": 8, "lr": 5e-4},
    out=folder / "run",
    offline=True,
)

# 3. Evaluate: F1 and exact match, as SQuAD counts them.
report = hftool.evaluate(result.run.path, split="test")
print("F1", round(report.metrics["f1"], 3), "exact match", report.metrics["exact_match"])

# 4. Ask. Long contexts are read in overlapping windows; the best span of all of them is the answer.
context = "The harbour light was built in 1888 from granite. A steam horn replaced the bell in 1906."
questions = ["When was it built?", "What replaced the bell?"]
model = hftool.load(result.run.path)
for question, answer in zip(questions, hftool.answer(model, questions, [context] * len(questions)), strict=True):
    if answer["start"] is not None:
        assert context[answer["start"] : answer["end"]] == answer["answer"]
    print(f"{question}  {answer['answer']!r}  {answer['probability']:.2f}")
