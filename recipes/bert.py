"""BERT, which reads a text in both directions: it labels texts and pairs, tags words, answers questions, fills masks, embeds.

Each verb is a function: load, tokenize, infer, finetune, evaluate, save, deploy, serve. `train_by_hand` shows the training
loop. Run all of it with `python -m recipes.bert`, or make the file yours with `hftool copy bert`.
"""

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

import hftool
from hftool.data.batches import step_batches
from hftool.models import Loaded
from hftool.workflow.arguments import Model, Task

MODEL = "bert"  # google-bert/bert-base-uncased; any BERT works here: a Hub id, a folder, a run
TASK = "sst2"  # film opinion; any file works here: reviews.csv


def load(model: Model = MODEL, **options: Any) -> Loaded:
    """Load a model with its tokenizer; options: head (classify, tag, answer, fill or embed), device, offline, fallback."""
    return hftool.load(model, **options)


tokenize = hftool.tokenize  # texts -> tokens, ids, attention mask, and the truncated tokens of each
infer = hftool.infer  # texts, or pairs of texts -> a label, entities, fills for a mask, or a vector for each


def finetune(
    model: Model = MODEL, task: Task = TASK, *, out: Any = None, offline: bool = False, fallback: bool = False, **knobs: Any
) -> hftool.Result:
    """Train on a task and keep the best checkpoint; knobs: head, columns, epochs, lr, batch_size, seed, ... (hftool.config)."""
    return hftool.finetune(model, task, config=knobs, out=out, offline=offline, fallback=fallback)


def train_by_hand(
    model: Model = MODEL, task: Task = TASK, *, steps: int = 20, fallback: bool = False, **knobs: Any
) -> tuple[Any, list[float]]:
    """Train a classifier as `finetune` does, in plain torch, by AdamW -> the model, and the loss of each step."""
    job: Any = hftool.prepare_training(model, task, config={**knobs, "max_steps": steps}, head="classify", fallback=fallback)
    bert, tokenizer, config = job.loaded.model.train(), job.loaded.tokenizer, job.settings  # train: with dropout
    rows = job.splits.train.rows  # {"text": "A warm film.", "label": 1} -> {"input_ids": [101, 1037, ...], "labels": 1}
    truncation = {"truncation": True, "max_length": config.max_length}
    features: Any = [{**tokenizer(row["text"], row.get("text_pair"), **truncation), "labels": row["label"]} for row in rows]
    lengths = [len(feature["input_ids"]) for feature in features]
    # weight decay pulls weights towards 0, but neither biases nor the weights of LayerNorm
    groups: list[Any] = [{"params": [], "weight_decay": config.weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in bert.named_parameters():
        groups[name.endswith(("bias", "LayerNorm.weight"))]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    warmup = max(1, math.ceil(config.warmup * steps))  # steps in which the learning rate rises; then it falls to 0
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup)))
    losses: list[float] = []
    for epoch in range(math.ceil(steps / math.ceil(len(rows) / config.batch_size))):
        # rows of similar length share a batch, for little padding; the batches come in random order
        order = step_batches(lengths, size=config.batch_size, window=config.sort_steps, seed=config.seed, epoch=epoch)
        loader = DataLoader(features, batch_sampler=order, collate_fn=DataCollatorWithPadding(tokenizer))
        for _, batch in zip(range(steps - len(losses)), loader, strict=False):
            labels = batch.to(bert.device).pop("labels")  # (B,); what stays are input_ids, attention_mask, ... (B, T)
            with torch.autocast(bert.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                logits = bert(**batch).logits  # (B, C)
            loss: Any = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
            loss.backward()
            norm = torch.nn.utils.get_total_norm(p.grad for p in bert.parameters()).item() / len(labels)
            for p in bert.parameters():  # the gradient of the mean loss, clipped to a norm of config.clip
                p.grad.mul_(min(1.0, (config.clip or math.inf) / (norm + 1e-6)) / len(labels))
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item() / len(labels))
    return bert.eval(), losses


evaluate = hftool.evaluate  # a run or a model -> metrics with their counts, and the wrong rows, worst first
save = hftool.save  # a run, a folder -> the folder, a plain Hugging Face model
deploy = hftool.deploy  # a run, to="onnx", "docker" or "kubernetes" -> a folder with the deployment. Extra [export]
serve = hftool.serve  # a list of models -> HTTP with a web page, until the process is stopped. Extra [serve]

if __name__ == "__main__":
    print("loss of each step:", *(f"{loss:.3f}" for loss in train_by_hand(fallback=True)[1]))
    result = finetune(fallback=True)  # fallback: without a network, MiniLM on bundled sentences stands in
    print("accuracy", evaluate(result, split="validation").metrics["accuracy"])
    model = load(save(result, result.run.path / "saved"))
    print(tokenize(model, ["A warm, funny film."])[0].tokens)
    for answer in infer(model, ["A warm, funny film.", "Two hours I will never get back."]):
        print(f"{answer['label']} {answer['probability']:.3f}")
