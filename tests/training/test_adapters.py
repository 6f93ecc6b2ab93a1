"""Adapters: a model with fresh ones answers as before, little of it learns, and merged it is the plain model again."""

import json

import pytest
import torch
from safetensors import safe_open

from conftest import one_line
from hftool import workflow
from hftool.models import HeadConfig, auto_class_of, load_model, read_model_config
from hftool.registry.families import FAMILIES
from hftool.training.adapters import add_adapters, learning_share, merge_adapters
from support import families

PAIRS = [(row.name, head) for row in FAMILIES if row.name in families.KINDS for head in row.heads]
LABELS = {"classify": ("good", "bad"), "tag": ("O", "B-PER", "I-PER")}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def load(kind, head):
    head_config = HeadConfig(head=head, labels=LABELS.get(head, ()), max_length=64)
    folder = families.folder(kind)
    return load_model(folder, auto_class_of(head, read_model_config(folder)), head_config=head_config, new_head=True).model


def outputs_of(model):
    ids = torch.arange(10, 22).view(2, 6)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder and hasattr(model, "lm_head"):
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        return model(**inputs)[0]


def disturb(model):
    """Adapters that were trained: fresh ones add nothing."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


@pytest.mark.parametrize(("kind", "head"), PAIRS)
def test_fresh_adapters_change_no_output_and_merged_ones_keep_it(kind, head):
    model = load(kind, head)
    names, before = [name for name, _ in model.named_parameters()], outputs_of(model)
    adapted = add_adapters(model, 4)
    assert torch.equal(outputs_of(model), before)
    disturb(model)
    trained = outputs_of(model)
    assert (trained - before).abs().max() > 1e-4
    assert merge_adapters(adapted) is model
    torch.testing.assert_close(outputs_of(model), trained, atol=2e-5, rtol=1e-5)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("kind", "head"), PAIRS)
def test_the_head_and_the_adapters_learn_and_nothing_else(kind, head):
    model = load(kind, head)
    body = {id(p) for name, p in model.base_model.named_parameters() if "pooler." not in name}
    add_adapters(model, 4)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {name for name in learning if ".lora_A." in name or ".lora_B." in name}
    assert len(adapters) >= 2 * 2 * 4  # two factors, two layers, attention in and out, two of the part that is fed forward
    assert {id(p) for name, p in model.named_parameters() if name in learning - adapters}.isdisjoint(body)
    for name, parameter in model.named_parameters():
        assert (name in learning) == (name in adapters or id(parameter) not in body), name
    assert 0 < learning_share(model) < 0.6


def test_the_rank_is_that_of_the_factors():
    model = load("bert", "classify")
    add_adapters(model, 7)
    shapes = {p.shape[0] for name, p in model.named_parameters() if "lora_A" in name}
    assert shapes == {7}


HEAD_CASES = ["bert-classify", "gpt2-generate", "t5-text2text", "bert-fill"]


@pytest.fixture(scope="module", params=HEAD_CASES)
def run(request, tmp_path_factory):
    """(run, head case, notices) of a run with adapters on the rows of a head case."""
    kind, head_case = request.param.split("-")
    head, rows, knobs = families.HEAD_CASES[head_case]
    folder = tmp_path_factory.mktemp("adapters")
    path = families.write_jsonl(folder / "rows.jsonl", rows())
    config = {
        **knobs,
        "lora": 8,
        "lr": 3e-3,
        "batch_size": 8,
        "log_steps": 1,
        "patience": 0,
        "eval_steps": 1000,
        "train": str(path),
        "validation": str(path),
        "allow_leak": True,
    }
    notices = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hftool.workflow._finetune._release", lambda store, progress: None)  # what it would remove is looked at
        result = workflow.finetune(
            str(families.folder(kind)), config=config, head=head, out=folder / "run", progress=lambda e: notices.append(e.text)
        )
    return result, head_case, notices


def test_a_run_with_adapters_learns_and_shows_the_share_of_trained_weights(run):
    result, head_case, notices = run
    assert any("of the weights are trained: the head, and adapters of rank 8" in text for text in notices)
    lines = [json.loads(line) for line in result.run.log.read_text().splitlines()]
    first, *_, last = (line["loss"] for line in lines if "loss" in line)
    assert last < (0.9 if head_case in ("fill", "generate") else 0.5) * first  # their embeddings do not learn


def test_the_model_of_the_run_is_plain_and_a_checkpoint_makes_the_same(run, tmp_path):
    """No trace of peft in the folder; what was measured is what answers; each checkpoint is merged likewise."""
    result, head_case, _ = run
    texts, pairs = families.inputs_of(head_case, families.HEAD_CASES[head_case][1](8))
    expected = workflow.infer(str(result.run.path), texts, pairs=pairs)
    with safe_open(result.run.model / "model.safetensors", framework="pt") as file:
        assert [name for name in file.keys() if "lora" in name or "base_layer" in name] == []  # noqa: SIM118
    assert not (result.run.model / "adapter_config.json").exists()
    best = f"step-{result.metrics['best_step']:06d}"
    saved = workflow.save(result.run.path, out=tmp_path / "saved", checkpoint=best)
    assert workflow.infer(str(saved), texts, pairs=pairs) == expected
    assert "lora 8" in (saved / "README.md").read_text()
    measured = workflow.evaluate(str(result.run.path), split="validation").metrics
    if head_case != "fill":  # which draws its masks
        assert measured["loss"] == pytest.approx(result.metrics["validation"]["loss"], rel=1e-4)


def test_only_what_learns_has_a_state_in_a_checkpoint(run):
    """What adapters are for: the two moments of Adam are of few weights."""
    result, _, _ = run
    folder = result.run.checkpoints / f"step-{result.metrics['best_step']:06d}"
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        learning = sum(1 for name in file.keys() if "lora_" in name)  # noqa: SIM118
        assert learning > 0
    state, weights = (folder / name for name in ("optimizer.safetensors", "model.safetensors"))
    assert state.stat().st_size < weights.stat().st_size


def test_a_larger_step_is_taken_unless_one_is_given(tmp_path, tiny_bert, film_files, cli):
    words = ("--offline", "--max-steps", 1, "--train", film_files / "train.tsv", "--validation", film_files / "dev.tsv")
    code, _, err = cli("finetune", tiny_bert, "sst2", *words, "--lora", 2, "--out", tmp_path / "run")
    assert code == 0, err
    assert "lr: 0.0002" in (tmp_path / "run" / "config.yaml").read_text()
    code, _, err = cli("finetune", tiny_bert, "sst2", *words, "--lora", 0.5)
    assert code == 2 and one_line(err) == "hftool: --lora must be a whole number from 0 to 1024, not '0.5'"
