"""The head beside adapters: it is trained in fp32, it is saved, and it is the same wherever the model is loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hftool import workflow
from hftool.models import HeadConfig, auto_class_of, load_model, read_model_config
from hftool.training.adapters import add_adapters, merge_adapters
from support import families

KINDS = ("bert", "roberta", "gpt2", "t5")
HALVES = (torch.float16, torch.bfloat16)


def halved(kind, dtype, folder):
    """The checkpoint of a family as half of what is published: weights of 16 bits, and a config that says so."""
    shutil.copytree(families.folder(kind), folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: t.to(dtype) for name, t in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}))
    return folder


def adapted(folder, seed):
    """A classifier with a new head and adapters, both drawn from the seed, after five steps."""
    torch.manual_seed(seed)
    head_config = HeadConfig(head="classify", labels=("good", "bad"), max_length=64)
    loaded = load_model(folder, auto_class_of("classify", read_model_config(folder)), head_config=head_config, new_head=True)
    handle = add_adapters(loaded.model, 4)
    before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in loaded.model.parameters() if p.requires_grad], lr=2e-5, weight_decay=0)
    ids = torch.arange(10, 58).view(4, 12)
    for _ in range(5):
        logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.nn.functional.cross_entropy(logits.reshape(-1, 2), torch.arange(logits.numel() // 2) % 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    return loaded.model, handle, before


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_head_of_a_half_precision_base_moves_by_small_steps(kind, dtype, tmp_path):
    """Of weights near 0.02, 16 bits would lose steps of 2e-5."""
    model, handle, before = adapted(halved(kind, dtype, tmp_path / "base"), 0)
    heads = {name: p for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert heads and all(p.dtype == torch.float32 for p in model.parameters())
    for name, parameter in heads.items():
        assert (parameter != before[name]).float().mean() > 0.95, name
    merge_adapters(handle)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
def test_a_t5_classifier_answers_alike_wherever_it_is_loaded(seed, tmp_path):
    """peft by itself would find no head to train in T5, and save none: a new one would be drawn at each loading."""
    rows = families.classify_rows(16)
    path = str(families.write_jsonl(tmp_path / "rows.jsonl", rows))
    config = {"train": path, "validation": path, "allow_leak": True, "lora": 4, "seed": seed, "epochs": 2, "batch_size": 4}
    result = workflow.finetune(str(families.folder("t5")), config=config | {"lr": 3e-3}, head="classify", out=tmp_path / "run")
    saved = workflow.save(result.run.path, out=tmp_path / "saved", checkpoint=f"step-{result.metrics['best_step']:06d}")
    answers = []
    for other in range(5):
        for folder in (result.run.path, saved):
            torch.manual_seed(other)
            answers.append(workflow.infer(str(folder), [row["text"] for row in rows]))
    assert all(answer == answers[0] for answer in answers)
    measured = workflow.evaluate(str(result.run.path), split="validation").metrics
    assert measured["loss"] == pytest.approx(result.metrics["validation"]["loss"], rel=1e-5)
    assert load_file(saved / "model.safetensors")["classifier.weight"].shape == (2, 48)
