"""transformers' Trainer: its defaults with dynamic padding, or bf16 and batches grouped by length."""

import tempfile
from typing import Any

import torch

from hftool.benchmark.arm import Arm, Counts, Outcome
from hftool.benchmark.train import Clock, TrainWork, validation_loss
from hftool.errors import UsageError
from hftool.workflow.plan import FinetuneJob

HEADS = ("classify",)  # whose batches have the labels that the loss of the model takes
NEVER = 10**6  # steps between log lines


def train(work: TrainWork, variant: str) -> Arm:
    """Trainer. variant: "" for its defaults."""
    head = work.prepared().loaded.head_config
    if head.head not in HEADS or head.class_weights:
        raise UsageError(f"Trainer is not measured on models that are to {head.head}, or with class weights")
    counts = Counts()

    def _run() -> Outcome:
        prepared, clock = work.prepared(), Clock()
        with tempfile.TemporaryDirectory() as folder:
            _trainer(prepared, work.job.batch, folder, clock, counts, best=bool(variant)).train()
        return clock.outcome(validation_loss(prepared, prepared.loaded))

    return Arm(_run, "bf16" if variant else "fp32", counts=counts)


def _trainer(prepared: FinetuneJob, batch: int, folder: str, clock: Clock, counts: Counts, *, best: bool) -> Any:
    """A Trainer of one epoch on the encoded rows."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    features = prepared.encoded["train"]
    rows = [
        {"input_ids": feature.input_ids.tolist(), "attention_mask": [1] * feature.length, "labels": feature.target}
        | ({} if feature.token_type_ids is None else {"token_type_ids": feature.token_type_ids.tolist()})
        for feature in features
    ]
    pad = DataCollatorWithPadding(prepared.loaded.tokenizer)

    def _collate(members: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = dict(pad(members))
        counts.add(found["attention_mask"])
        return found

    class Ticker(TrainerCallback):
        """Follows the steps."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            """The first step starts."""
            clock.start(len(features))

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            """A step has ended."""
            clock.tick()

    faster: dict[str, Any] = {"bf16": True, "train_sampling_strategy": "group_by_length"} if best else {}
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        learning_rate=float(prepared.settings.lr or 0),
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=NEVER,
        seed=prepared.settings.seed,
        **faster,
    )
    model = prepared.loaded.model
    return Trainer(model=model, args=arguments, train_dataset=rows, data_collator=_collate, callbacks=[Ticker()])
