"""Stored weights that differ from config.json: too many layers, prefixed names, an untied head."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import one_line
from hftool import workflow
from hftool.errors import ConfigError
from support import families

LAYERS = {"bert": "num_hidden_layers", "roberta": "num_hidden_layers", "gpt2": "n_layer", "t5": "num_layers"}
NOT_USED = {  # entries of published files that are not weights of the model
    "bert": ("bert.embeddings.position_ids", "bert.pooler.dense.bias", "cls.seq_relationship.weight", "qa_outputs.weight"),
    "roberta": ("roberta.embeddings.position_ids", "roberta.pooler.dense.weight", "classifier.dense.weight"),
    "gpt2": ("transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias", "score.weight"),
    "t5": ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", "classifier.weight"),
    "electra": ("electra.embeddings.position_ids", "discriminator_predictions.dense.weight", "electra.scale"),
}
WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DistributedDataParallel": lambda name: f"module.{name}",
    "compiled, then distributed": lambda name: f"module._orig_mod.{name}",
    "distributed, then compiled": lambda name: f"_orig_mod.module.{name}",
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}",
    "each layer compiled": lambda name: name.replace(".layer.", ".layer._orig_mod.", 1).replace(".h.", ".h._orig_mod.", 1),
    "a body of several GPUs": lambda name: name.replace("bert.", "bert.module.", 1),
}


def copy(kind, folder, change=None, **config):
    """A copy of a family's folder with changed weights and config."""
    shutil.copytree(families.folder(kind), folder)
    weights = load_file(folder / "model.safetensors")
    save_file((change or dict)(weights), folder / "model.safetensors", metadata={"format": "pt"})
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


@pytest.mark.parametrize("kind", LAYERS)
def test_config_with_fewer_layers_than_the_weights_is_78(kind, tmp_path, cli):
    folder = copy(kind, tmp_path / "model", **{LAYERS[kind]: 1})
    code, out, err = cli("infer", folder, "the red cat [MASK]")
    assert (code, out) == (78, "")
    line = one_line(err)
    assert "do not fit its config.json, which has no parameters for " in line and " more. Take config.json from" in line
    assert line.count(".1.") == 5, line


@pytest.mark.parametrize("auto", ["AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForTextEncoding"])
def test_encoder_without_a_head_is_checked(auto, tmp_path):
    """Weight names of an encoder without a head have no prefix `bert.`."""

    def bare(weights):
        return {name.removeprefix("bert."): tensor for name, tensor in weights.items() if name.startswith("bert.")}

    folder = copy("bert", tmp_path / "model", bare, num_hidden_layers=1)
    head = {"AutoModelForMaskedLM": "fill", "AutoModelForSequenceClassification": "classify"}.get(auto, "embed")
    with pytest.raises(ConfigError, match=r"no parameters for encoder\.layer\.1\.") as caught:
        workflow.load(str(folder), head=head)
    assert caught.value.code == 78


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bert", "bert.encoder.layer.0.attention.self.query.lora_A.weight"),
        ("bert", "bert.embeddings.extra.weight"),
        ("gpt2", "transformer.h.0.mlp.c_gate.weight"),
        ("t5", "decoder.final_bias"),
        ("electra", "electra.encoder.layer.7.output.dense.bias"),
    ],
)
def test_unused_encoder_weights_are_an_error(kind, name, tmp_path):
    folder = copy(kind, tmp_path / "model", lambda weights: {**weights, name: torch.ones(2)})
    with pytest.raises(ConfigError, match=rf"no parameters for {name}\. Take"):
        workflow.load(str(folder))


@pytest.mark.parametrize("kind", NOT_USED)
def test_other_heads_and_old_buffers_are_ignored(kind, tmp_path):
    folder = copy(kind, tmp_path / "model", lambda weights: weights | {name: torch.ones(2, 2) for name in NOT_USED[kind]})
    plain, extended = workflow.load(str(families.folder(kind))), workflow.load(str(folder))
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(extended.model.state_dict()[name], tensor) or "pooler" in name


@pytest.mark.parametrize(
    ("kind", "wrapper"), [*(("bert", name) for name in WRAPPED), *(("gpt2", name) for name in list(WRAPPED)[:-1])]
)
def test_prefixes_of_wrappers_are_removed(kind, wrapper, tmp_path):
    folder = copy(kind, tmp_path / "model", lambda weights: {WRAPPED[wrapper](name): t for name, t in weights.items()})
    events = []
    loaded = workflow.load(str(folder), progress=events.append)
    assert loaded.new_weights == () and any("left by a wrapper of torch" in event.text for event in events)
    loaded.model.save_pretrained(tmp_path)
    saved, plain = load_file(tmp_path / "model.safetensors"), load_file(families.folder(kind) / "model.safetensors")
    assert saved.keys() == plain.keys() and all(torch.equal(saved[name], plain[name]) for name in plain)
    assert workflow.info(str(folder))["parameters"] == workflow.info(str(families.folder(kind)))["parameters"]


def test_shards_with_prefixed_names_are_read(tmp_path):
    folder = copy("bert", tmp_path / "model")
    weights = {f"module.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    half = len(weights) // 2
    files = {f"model-0000{i + 1}-of-00002.safetensors": list(weights)[i * half : (i + 1) * half or None] for i in (0, 1)}
    files["model-00002-of-00002.safetensors"] += list(weights)[2 * half :]
    for name, keys in files.items():
        save_file({key: weights[key] for key in keys}, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, keys in files.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded, plain = workflow.load(str(folder)), workflow.load(str(families.folder("bert")))
    assert all(torch.equal(tensor, plain.model.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())


def test_ambiguous_prefixed_names_are_kept(tmp_path):
    """A file with a name both with and without the prefix was not written by a wrapper."""
    folder = copy(
        "bert", tmp_path / "model", lambda weights: weights | {"module.bert.embeddings.LayerNorm.bias": torch.ones(48)}
    )
    assert workflow.load(str(folder)).notes == ()
