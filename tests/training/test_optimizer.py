import math

import pytest
import torch

from hftool.training.optimizer import make_optimizer, parameter_groups, schedule_factor


def model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"dense": torch.nn.Linear(4, 3), "LayerNorm": torch.nn.LayerNorm(3)})


THEIRS = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "adafactor": lambda groups: torch.optim.Adafactor(groups, lr=0.1),
}


@pytest.mark.parametrize("name", THEIRS)
def test_three_steps_are_those_of_torch(name):
    ours, reference = model(), model()
    mine = make_optimizer(name, ours, lr=0.1, weight_decay=0.2)
    dense, norm = reference["dense"], reference["LayerNorm"]
    other = THEIRS[name](
        [
            {"params": [dense.weight], "weight_decay": 0.2},
            {"params": [dense.bias, norm.weight, norm.bias], "weight_decay": 0.0},
        ]
    )
    for _ in range(3):
        for net, optimizer in ((ours, mine), (reference, other)):
            x = torch.linspace(-1, 1, 8).reshape(2, 4)
            net["LayerNorm"](net["dense"](x)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    assert not torch.equal(ours["dense"].weight, model()["dense"].weight)


def test_biases_and_norms_do_not_decay_and_frozen_weights_are_left_out():
    net = model()
    decayed, plain = parameter_groups(net, 0.01)
    assert [p.shape for p in decayed["params"]] == [(3, 4)] and decayed["weight_decay"] == 0.01
    assert len(plain["params"]) == 3 and plain["weight_decay"] == 0.0
    net["dense"].weight.requires_grad_(False)
    assert parameter_groups(net, 0.01)[0]["params"] == []


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_norms_of_each_family_are_known(family):
    """Every parameter with one dimension is a bias or a norm, whatever the family calls it."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    net = (
        BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9))
        if family == "bert"
        else GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9))
    )
    decayed, plain = parameter_groups(net, 0.01)
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in plain["params"]} == {1}


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_schedules_are_their_formulas(name, warmup):
    total = 10
    result = [schedule_factor(name, step, total=total, warmup=warmup) for step in range(total)]
    share = [(step - warmup) / (total - warmup) for step in range(total)]
    falling = {"linear": lambda s: 1 - s, "cosine": lambda s: (1 + math.cos(math.pi * s)) / 2, "constant": lambda s: 1.0}[name]
    assert result == pytest.approx([(step + 1) / warmup if step < warmup else falling(share[step]) for step in range(total)])
    assert all(f > 0 for f in result) and max(result) == pytest.approx(1.0)


def test_a_run_that_is_all_warm_up():
    assert [schedule_factor("linear", s, total=2, warmup=2) for s in range(2)] == [0.5, 1.0]
