import dataclasses
import json
import math
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hftool.errors import RunStopped
from hftool.training.checkpoints import read_state
from hftool.training.distributed import autocast, make_accelerator
from hftool.training.estimate import estimate_seconds
from support.trainer_factory import make_trainer, rows_of_many_lengths, same, weights_of


def log_of(trainer):
    return [json.loads(line) for line in trainer.run.log.read_text(encoding="utf-8").splitlines()]


def losses_of(trainer):
    return [line["loss"] for line in log_of(trainer) if "loss" in line]


def scripted(values):
    """An evaluation that gives these accuracies one after the other."""
    left = iter(values)
    return lambda: {"accuracy": next(left), "macro_f1": 0.0, "loss": 0.0}


@pytest.mark.parametrize("knobs", [{}, {"workers": 2}], ids=["workers 0", "workers 2"])
def test_the_same_seed_gives_the_same_weights_and_losses_bitwise(tiny_bert, tmp_path, knobs):
    one, two = make_trainer(tiny_bert, tmp_path / "a", epochs=2.0), make_trainer(tiny_bert, tmp_path / "b", epochs=2.0, **knobs)
    torch.manual_seed(0)
    one.train()
    torch.manual_seed(0)
    two.train()
    assert same(weights_of(one), weights_of(two))
    assert losses_of(one) == losses_of(two)
    other = make_trainer(tiny_bert, tmp_path / "c", epochs=2.0, seed=1)
    other.train()
    assert not same(weights_of(one), weights_of(other))


def test_accumulation_gives_the_gradient_of_one_big_batch(tiny_bert, tmp_path):
    """16 x 1 and 4 x 4 on rows of different lengths, and on a last batch of 2 rows; in eval mode, where nothing is dropped."""
    whole = make_trainer(tiny_bert, tmp_path / "a", batch_size=16)
    parts = make_trainer(tiny_bert, tmp_path / "b", batch_size=4, accumulate=4)
    assert whole.rows_a_step == parts.rows_a_step == 16
    sizes = []
    for (rows, one), (again, four) in zip(_first_epoch(whole), _first_epoch(parts), strict=True):
        assert rows == again
        sizes.append([len(batch["input_ids"]) for batch in four])
        for trainer, batches in ((whole, one), (parts, four)):
            trainer.optimizer.zero_grad()
            trainer.scale_and_clip(trainer.backward(batches)[1])
        for (name, p), q in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-7, msg=name)
    assert sorted(sizes) == [[2], [4, 4, 4, 4]]


def _first_epoch(trainer):
    trainer.model.eval()
    result = trainer._steps()
    return [next(result) for _ in range(trainer.steps_an_epoch)]


def test_the_logged_loss_is_the_mean_over_rows_not_over_batches(tiny_bert, tmp_path):
    """17 rows in batches of 16: a mean over batches would give the one row of the last half of the weight."""
    trainer = make_trainer(tiny_bert, tmp_path / "a", rows=rows_of_many_lengths(17), batch_size=16, lr=1e-9, log_steps=2)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in trainer.model.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.0
        layer.attention.self.attention_dropout = 0.0
    trainer.train()
    batch = trainer.head.collate(trainer.features)
    with torch.no_grad():
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"])
    assert losses_of(trainer) == [pytest.approx(float(expected), rel=1e-4)]


@pytest.mark.parametrize("clip", [0.05, 1e6, 0.0])
def test_clipping_is_that_of_torch_on_the_mean_loss(tiny_bert, tmp_path, clip):
    torch.manual_seed(0)  # the head is drawn anew
    trainer = make_trainer(tiny_bert, tmp_path / "a", batch_size=6, clip=clip)
    trainer.model.eval()
    batch = trainer.head.collate(trainer.features[:6])
    norm = trainer.scale_and_clip(trainer.backward([batch])[1])
    ours = [p.grad.clone() for p in trainer.model.parameters()]
    trainer.model.zero_grad()
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    torch.nn.functional.cross_entropy(trainer.model(**inputs).logits, batch["labels"]).backward()
    their_output = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), clip or math.inf)
    assert norm == pytest.approx(float(their_output), rel=1e-5)
    for mine, p in zip(ours, trainer.model.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad, rtol=1e-4, atol=1e-6)  # fp32 rounding of a sum, not of a mean


def test_the_first_steps_are_those_of_plain_torch(tiny_bert, tmp_path):
    """AdamW, warm-up, clipping and the order of the rows, written out by hand."""
    trainer = make_trainer(tiny_bert, tmp_path / "a", warmup=0.5, max_steps=4, clip=0.1)
    reference = make_trainer(tiny_bert, tmp_path / "b", warmup=0.5, max_steps=4, clip=0.1)
    model = reference.model.train()
    bare = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    decayed = [p for p in model.parameters() if not any(p is q for q in bare)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": bare, "weight_decay": 0.0}], lr=1.0)
    steps = reference._steps()
    torch.manual_seed(0)
    for factor in (0.5, 1.0, 1.0, 0.5):  # 2 of warm-up, then linear to 0 after the fourth
        _, [batch] = next(steps)
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        torch.nn.functional.cross_entropy(model(**inputs).logits, batch["labels"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["lr"] = factor * 1e-3
        optimizer.step()
        optimizer.zero_grad()
    torch.manual_seed(0)
    trainer.train()
    assert [line["lr"] for line in log_of(trainer) if "lr" in line] == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4])
    for (name, p), q in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=2e-5, msg=name)


def test_patience_ends_the_run_and_the_weights_are_those_of_the_best_evaluation(tiny_bert, tmp_path):
    seen = []
    values = scripted([0.5, 0.9, 0.6, 0.9, 0.7])

    def evaluate():
        seen.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        return values()

    trainer = make_trainer(tiny_bert, tmp_path / "a", evaluate=evaluate, epochs=10.0, eval_steps=2, patience=3, keep=1)
    position = trainer.train()
    assert (position.step, position.best_step, position.best_value) == (10, 4, 0.9)
    assert same(weights_of(trainer), seen[1])
    assert not same(seen[1], seen[4])
    assert trainer.store.steps() == [4, 10]
    assert not trainer.model.training
    assert [line["evaluation"]["accuracy"] for line in log_of(trainer) if "evaluation" in line] == [0.5, 0.9, 0.6, 0.9, 0.7]


def test_without_patience_it_runs_to_the_end(tiny_bert, tmp_path):
    trainer = make_trainer(
        tiny_bert, tmp_path / "a", evaluate=scripted([0.9] + [0.1] * 9), max_steps=10, eval_steps=1, patience=0
    )
    assert trainer.train().step == 10


@pytest.mark.parametrize(
    ("knobs", "steps", "evaluated", "saved"),
    [
        ({"epochs": 2.0}, 10, [5, 10], [5, 10]),
        ({"epochs": 0.5}, 3, [3], [3]),
        ({"epochs": 0.001}, 1, [1], [1]),
        ({"epochs": 1.4}, 7, [5, 7], [5, 7]),
        ({"max_steps": 7}, 7, [5, 7], [5, 7]),
        ({"max_steps": 7, "eval_steps": 3}, 7, [3, 6, 7], [3, 6, 7]),
        ({"max_steps": 5, "eval_steps": 100, "save_steps": 2}, 5, [5], [2, 4, 5]),
    ],
)
def test_when_it_stops_evaluates_and_saves(tiny_bert, tmp_path, knobs, steps, evaluated, saved):
    trainer = make_trainer(tiny_bert, tmp_path / "a", keep=9, **knobs)  # 18 rows in batches of 4: 5 steps an epoch
    assert trainer.train().step == steps
    assert [line["step"] for line in log_of(trainer) if "evaluation" in line] == evaluated
    assert trainer.store.steps() == saved


def test_a_share_of_epochs_is_not_rounded_up_by_floating_point(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", rows=rows_of_many_lengths(50), batch_size=1, epochs=1.1)
    assert 1.1 * 50 > 55
    assert trainer.steps == 55


def test_a_run_saves_by_the_clock(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", save_minutes=1e-9, max_steps=3, keep=9)
    trainer.train()
    assert trainer.store.steps() == [1, 2, 3]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_evaluation_that_draws_random_numbers_changes_no_resumed_run(tiny_bert, tmp_path, when):
    """The checkpoint before an evaluation has the generators of before it, the one after it those of after it."""
    copy = tmp_path / "copy"

    def use_random():
        if not copy.exists():
            shutil.copytree(whole.store.path(2), copy)
        return {"accuracy": float(torch.rand(())), "macro_f1": random.random(), "loss": float(np.random.rand())}

    how = {"evaluate": use_random, "max_steps": 5, "eval_steps": 2, "keep": 9}
    whole = make_trainer(tiny_bert, tmp_path / "whole", **how)
    whole.train()
    interrupted = make_trainer(tiny_bert, tmp_path / "interrupted", **how)
    shutil.copytree(copy if when == "before" else whole.store.path(2), interrupted.store.path(2))
    interrupted.restore(interrupted.store.path(2))
    interrupted.train()
    logs = [[line for line in log_of(trainer) if "evaluation" in line] for trainer in (whole, interrupted)]
    assert len(logs[0]) == 3 and logs[1] == (logs[0] if when == "before" else logs[0][1:])
    assert losses_of(whole)[2:] == losses_of(interrupted) and same(weights_of(whole), weights_of(interrupted))
    assert interrupted.position == dataclasses.replace(whole.position, seconds=interrupted.position.seconds)
    assert read_state(copy)["evaluated"] is False and read_state(whole.store.path(2))["evaluated"] is True


def poison(trainer, *steps):
    """Make the gradient of these steps NaN."""
    real = trainer.head.loss
    count = 0

    class Poisoned:
        def __getattr__(self, name):
            return getattr(trainer_head, name)

        def loss(self, outputs, batch):
            nonlocal count
            count += 1
            total, n = real(outputs, batch)
            return (total * math.nan if count in steps else total), n

    trainer_head = trainer.head
    trainer.head = Poisoned()


def test_a_step_without_a_finite_gradient_is_skipped_counted_and_noticed(tiny_bert, tmp_path):
    notices = []
    trainer = make_trainer(tiny_bert, tmp_path / "a", max_steps=5, progress=notices.append)
    poison(trainer, 2, 5)
    assert trainer.train().step == 5
    assert trainer.finite.skipped == 2
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())
    assert [line["step"] for line in log_of(trainer) if "loss" in line] == [1, 3, 4]
    assert [e.text for e in notices if e.kind == "notice"] == [
        f"step {n} is skipped: its loss or gradient is NaN or infinite" for n in (2, 5)
    ]


def test_a_skipped_step_leaves_weights_and_optimizer_as_they_were(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a")
    poison(trainer, 1)
    before = weights_of(trainer)
    rows, batches = next(trainer._steps())
    trainer._step(rows, batches)
    assert same(before, weights_of(trainer))
    assert trainer.optimizer.optimizer.state_dict()["state"] == {}
    assert all(p.grad is None for p in trainer.model.parameters())


@pytest.mark.parametrize("old", [False, True])
def test_a_first_step_after_resuming_that_is_skipped_is_logged_as_in_one_piece(tiny_bert, tmp_path, old):
    """The logged norm is that of the last step taken, which was before the interruption; older checkpoints have none."""
    whole = make_trainer(tiny_bert, tmp_path / "whole", max_steps=4, log_steps=3, save_steps=1, keep=9)
    poison(whole, 3)
    whole.train()
    interrupted = make_trainer(tiny_bert, tmp_path / "interrupted", max_steps=4, log_steps=3, save_steps=1)
    if old:
        path = whole.store.path(2) / "state.json"
        path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "norm"}))
    interrupted.restore(whole.store.path(2))
    poison(interrupted, 1)
    interrupted.train()
    assert same(weights_of(interrupted), weights_of(whole))
    norms = [[line["grad_norm"] for line in log_of(trainer) if "loss" in line] for trainer in (whole, interrupted)]
    assert norms[0][0] > 0 and norms[1] == [0.0 if old else norms[0][0], norms[0][1]]


def test_five_bad_steps_stop_the_run_and_keep_the_last_finite_weights(tiny_bert, tmp_path):
    lines = list(range(100, 118))
    trainer = make_trainer(tiny_bert, tmp_path / "a", epochs=9.0, lines=lines, warmup=0.0, schedule="constant")
    poison(trainer, *range(3, 99))
    with pytest.raises(RunStopped) as caught:
        trainer.train()
    assert caught.value.code == 75
    last = trainer.run.checkpoints / "step-000007"
    rows = _rows_of_step(trainer, 7)
    assert str(caught.value) == (
        "the loss or its gradient is NaN or infinite for 5 steps in a row, at step 7 with learning rate 0.001 "
        f"(lines {', '.join(str(100 + i) for i in sorted(rows))} of train); the last finite weights are kept in '{last}'. "
        "Try a lower --lr, or --precision fp32"
    )
    kept = load_file(last / "model.safetensors")
    assert same(kept, weights_of(trainer)) and all(bool(torch.isfinite(v).all()) for v in kept.values())


def _rows_of_step(trainer, step):
    from hftool.data.batches import step_batches

    epoch, location = divmod(step - 1, trainer.steps_an_epoch)
    config = trainer.config
    return step_batches(trainer.lengths, size=trainer.rows_a_step, window=config.sort_steps, seed=config.seed, epoch=epoch)[
        location
    ]


def test_without_lines_rows_are_named_by_their_position(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", epochs=9.0)
    poison(trainer, *range(1, 99))
    with pytest.raises(RunStopped, match=r"\(train rows \d+(, \d+)*, counted from 1 without those left out\)"):
        trainer.train()


@pytest.mark.parametrize("max_steps", [2, 50])
def test_weights_of_nan_stop_a_run_of_any_length_and_are_never_saved(tiny_bert, tmp_path, max_steps):
    trainer = make_trainer(tiny_bert, tmp_path / "a", max_steps=max_steps)
    with torch.no_grad():
        trainer.model.bert.encoder.layer[0].output.dense.weight[0, 0] = math.nan
    with pytest.raises(
        RunStopped, match=f"at step {min(max_steps, 5)} with learning rate .*; no weights were finite"
    ) as caught:
        trainer.train()
    assert caught.value.code == 75
    assert trainer.store.steps() == []


def test_weights_that_run_away_push_out_no_good_checkpoint(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", max_steps=9, save_steps=1, keep=2, eval_steps=100)
    real = trainer.optimizer.step
    taken = 0

    def step():
        nonlocal taken
        taken += 1
        real()
        if taken == 4:  # as an update that overflows
            with torch.no_grad():
                trainer.model.classifier.weight[0, 0] = math.inf

    trainer.optimizer.step = step
    with pytest.raises(RunStopped, match=r"weights or loss are NaN or infinite at step 4 .* kept in '.*step-000003'"):
        trainer.train()
    assert trainer.store.steps() == [2, 3]


def test_an_absurd_learning_rate_from_the_command_line(tiny_bert, film_files, cli, monkeypatch):
    """However it ends, no weights that are no number are kept; with sgd at 1e6 times too much it stops with 75."""
    from conftest import one_line
    from hftool import config

    monkeypatch.setitem(config.KNOBS, "lr", config.Knob(float, "", optional=True))
    args = ["--train", film_files / "train.tsv", "--validation", film_files / "dev.tsv", "--batch-size", 4, "--epochs", 9]
    code, out, err = cli(
        "finetune",
        tiny_bert,
        "sst2",
        *args,
        "--lr",
        1e38,
        "--optimizer",
        "sgd",
        "--set",
        "clip=0",
        "--out",
        "run",
        "-q",
        "--offline",
    )
    assert code == 75 and out == ""
    line = one_line(err)
    assert "with learning rate" in line and ("of train" in line or "train rows" in line)
    for path in (film_files / "run" / "checkpoints").glob("*/model.safetensors"):
        assert all(bool(torch.isfinite(v).all()) for v in load_file(path).values())


def test_estimating_leaves_everything_bitwise_as_it_was(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a")
    before, states = weights_of(trainer), (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    assert 0 < estimate_seconds(trainer) < 60
    assert same(before, weights_of(trainer))
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()
    assert all(p.grad is None for p in trainer.model.parameters())
    assert trainer.optimizer.optimizer.state_dict()["state"] == {}
    assert (trainer.meter.loss, trainer.meter.count, trainer.meter.tokens) == (0.0, 0, 0)


@pytest.mark.parametrize("room", [3, 1, 0])
def test_estimating_takes_fewer_rows_where_memory_runs_out(tiny_bert, tmp_path, room):
    trainer = make_trainer(tiny_bert, tmp_path / "a")
    before, state, real, tried = weights_of(trainer), torch.get_rng_state(), trainer.backward, []
    trainer.meter.loss, trainer.meter.count = 1.5, 3  # of a resumed run

    def backward(batches):
        tried.append(len(batches[0]["input_ids"]))
        if tried[-1] > room:
            real(batches)
            raise MemoryError
        return real(batches)

    trainer.backward = backward
    seconds = estimate_seconds(trainer)
    assert seconds is None if room == 0 else 0 < seconds < 60
    assert tried == {3: [4, 2, 2], 1: [4, 2, 1, 1], 0: [4, 2, 1]}[room]
    assert same(before, weights_of(trainer)) and torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in trainer.model.parameters())
    assert (trainer.meter.loss, trainer.meter.count, trainer.meter.tokens) == (1.5, 3, 0)
    trainer.micro = 2
    tried.clear()
    estimate_seconds(trainer)
    assert tried[0] == 2  # as many as are computed at once


def test_it_learns(tiny_run):
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    lines = [json.loads(line) for line in (tiny_run / "log.jsonl").read_text().splitlines()]
    logged = [line["evaluation"] for line in lines if "evaluation" in line]
    best = max(logged, key=lambda e: e["accuracy"])
    assert {name: metrics["validation"][name] for name in best} == best


def test_bf16_keeps_weights_and_gradients_in_fp32(tiny_bert, tmp_path):
    trainer = make_trainer(tiny_bert, tmp_path / "a", max_steps=1)
    trainer.precision = "bf16"
    trainer.train()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    with autocast(torch.device("cpu"), "bf16"):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "fp32"):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
    assert str(make_accelerator("cpu").device) == "cpu"
