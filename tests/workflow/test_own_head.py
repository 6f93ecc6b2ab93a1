"""Models whose lm_head is not their embedding, as T5 1.1, Flan-T5 and mT5 are published: by every way that a model goes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hftool import workflow
from support import families

LM_HEAD = "lm_head.weight"
# the family, its embedding, its output weights, its head, and what config.json says
KINDS = {
    "T5 1.1": ("t5", "shared.weight", LM_HEAD, "text2text", {"tie_word_embeddings": False}),
    "T5 with its own head": ("t5", "shared.weight", LM_HEAD, "text2text", {}),
    "mT5": ("t5", "shared.weight", LM_HEAD, "text2text", {"model_type": "mt5", "tie_word_embeddings": False}),
    "GPT-2 untied": ("gpt2", "transformer.wte.weight", LM_HEAD, "generate", {"tie_word_embeddings": False}),
    "GPT-2, unsaid": ("gpt2", "transformer.wte.weight", LM_HEAD, "generate", {}),
    "BERT": ("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", "fill", {}),
}
ROWS = {"text2text": families.target_rows, "generate": families.completion_rows, "fill": families.text_rows}
ASKED = {"text2text": ["red cat", "blue dog"], "generate": ["the red cat is"], "fill": ["the red [MASK] is warm"]}
CASES = [
    pytest.param(kind, lora, marks=() if (kind, lora) in (("T5 1.1", 0), ("GPT-2, unsaid", 4)) else pytest.mark.slow)
    for kind in KINDS
    for lora in (0, 4)
]


def checkpoint(kind, folder):
    """As published: both weights in the file, and another number in each place."""
    family, embedding, output, _, config = KINDS[kind]
    shutil.copytree(families.folder(family), folder)
    weights = load_file(folder / "model.safetensors")
    weights[output] = torch.randn(weights[embedding].shape, generator=torch.Generator().manual_seed(1)) * 0.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    known = json.loads((folder / "config.json").read_text())
    if "tie_word_embeddings" in config:
        known.pop("scale_decoder_outputs", None)  # no file before transformers 5 has it
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


def train(kind, lora, tmp_path):
    """The checkpoint, and a run of two evaluations."""
    head = KINDS[kind][3]
    rows = str(families.write_jsonl(tmp_path / "rows.jsonl", ROWS[head](16)))
    config = {"train": rows, "validation": rows, "allow_leak": True, "lora": lora, "batch_size": 8, "lr": 3e-3, "epochs": 2}
    result = checkpoint(kind, tmp_path / "base")
    return result, workflow.finetune(str(result), config=config, head=head, out=tmp_path / "run", offline=True).run.path


@pytest.mark.parametrize(("kind", "lora"), CASES)
def test_an_external_head_passes_every_step(kind, lora, tmp_path, monkeypatch):
    _, embedding, output, head, _ = KINDS[kind]
    monkeypatch.setattr("hftool.workflow._finetune._release", lambda store, progress: None)  # it is resumed below
    base, run = train(kind, lora, tmp_path)
    weights, answers = load_file(run / "model" / "model.safetensors"), workflow.infer(str(run), ASKED[head])
    assert not torch.equal(weights[output], weights[embedding])
    numbers = sum(tensor.numel() for tensor in weights.values())
    assert workflow.info(str(base))["parameters"] == workflow.info(str(run))["parameters"] == numbers
    best = workflow.load(str(workflow.save(run, out=tmp_path / "best")))
    assert workflow.infer(best, ASKED[head]) == answers
    last = load_file(workflow.save(run, out=tmp_path / "last", checkpoint="last") / "model.safetensors")
    assert last.keys() == weights.keys() and not torch.equal(last[output], last[embedding])
    (run / "model" / "model.safetensors").unlink()  # its numbers are mapped, not read
    (run / "model" / "model.safetensors").write_bytes(b"damaged")
    assert_saved(workflow.save(run, out=tmp_path / "of-damaged"), weights)
    shutil.rmtree(run / "model")
    (run / "metrics.json").unlink()
    assert_saved(workflow.save(run, out=tmp_path / "of-unfinished", checkpoint="best"), weights)
    for path in sorted((run / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    assert_saved(workflow.resume(run, offline=True).run.path / "model", weights)


def assert_saved(folder, weights):
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in saved.items())


def test_a_head_that_is_stored_twice_is_counted_once(tmp_path):
    """Old files have tied weights under each of their names."""
    folder = checkpoint("T5 with its own head", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    copies = {name: weights["shared.weight"].clone() for name in ("lm_head.weight", "encoder.embed_tokens.weight")}
    save_file(weights | copies, folder / "model.safetensors", metadata={"format": "pt"})
    assert workflow.info(str(folder))["parameters"] == workflow.info(str(families.folder("t5")))["parameters"]
    model = workflow.load(str(folder)).model
    assert model.lm_head.weight is model.shared.weight


def test_lora_leaves_the_vocabulary_as_it_was(tmp_path):
    """Whether or not the head is the embedding: it was pre-trained with the body."""
    base, run = train("GPT-2, unsaid", 4, tmp_path)
    before, after = (load_file(folder / "model.safetensors")[LM_HEAD] for folder in (base, run / "model"))
    assert torch.equal(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "BERT"])
def test_its_export_generates_the_same_texts(kind, tmp_path):
    head = KINDS[kind][3]
    _, run = train(kind, 0, tmp_path)
    result = workflow.export(str(run), out=tmp_path / "onnx")
    assert result.report["model"]["parameters"] == workflow.info(str(run))["parameters"]
    texts = [[answer["text"] for answer in workflow.infer(str(model), ASKED[head])] for model in (run, result.path)]
    assert texts[0] == texts[1]
