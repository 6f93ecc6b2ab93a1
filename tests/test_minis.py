"""The small models that hftool brings: small, whole, in fp16, and better than chance at what they are for."""

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import hftool
from hftool import workflow
from hftool.registry.models import MODELS, get_model

FOLDER = Path(hftool.__file__).parent / "assets" / "models"
MINIS = [row.name for row in MODELS if row.bundled]


def header(path):
    """The tensors of a safetensors file by name."""
    with open(path, "rb") as handle:
        (size,) = struct.unpack("<Q", handle.read(8))
        return {name: value for name, value in json.loads(handle.read(size)).items() if name != "__metadata__"}


def test_each_family_has_one():
    assert sorted(MINIS) == ["bert-mini", "gpt2-mini", "roberta-mini", "t5-mini"]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(MINIS)


@pytest.mark.parametrize("name", MINIS)
def test_it_is_small_and_in_fp16(name):
    folder = FOLDER / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    tensors = header(folder / "model.safetensors")
    assert {tensor["dtype"] for tensor in tensors.values()} == {"F16"}
    assert "benchmarks/minis.py" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MINIS)
def test_its_row_has_its_number_of_parameters(name):
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        body = AutoModel.from_config(AutoConfig.from_pretrained(FOLDER / name))
    pooler = sum(p.numel() for n, p in body.named_parameters() if n.startswith("pooler."))
    assert get_model(name).parameters in (body.num_parameters(), body.num_parameters() - pooler)


@pytest.mark.parametrize(("name", "most"), [("gpt2-mini", 400), ("bert-mini", 700), ("roberta-mini", 1200)])
def test_it_knows_english_prose_that_it_was_not_trained_on(name, most):
    """A model that was trained on nothing has a perplexity of 6000, the size of its vocabulary. These are rough."""
    report = workflow.evaluate(name, "stories-mini", split="test", offline=True)
    assert report.metrics["perplexity"] < most


def test_t5_mini_generates_words_for_a_sentinel():
    loaded = workflow.load("t5-mini", offline=True)
    texts = ["The old man sat down <extra_id_0> the fire and looked at <extra_id_1> hands."]
    (answer,) = workflow.infer(loaded, texts, sampling={"max_new_tokens": 20})
    assert any(letter.isalpha() for letter in answer["text"])


@pytest.fixture(scope="module")
def builder():
    """benchmarks/minis.py."""
    spec = importlib.util.spec_from_file_location("minis", FOLDER.parents[2] / "benchmarks" / "minis.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "t5"])
def test_the_builder_takes_the_tokenizer_that_is_bundled(family, builder, tmp_path):
    tokenizer = builder.make_tokenizer(family, [], tmp_path, new=False)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (FOLDER / f"{family}-mini" / name).read_bytes()
    assert len(tokenizer) == json.loads((FOLDER / f"{family}-mini" / "config.json").read_text())["vocab_size"]


def test_the_mask_of_roberta_takes_the_blank_before_it(builder, tmp_path):
    result = builder.make_tokenizer("roberta", ["the red cat is warm . " * 20] * 8, tmp_path, new=True)
    bundled = workflow.load("roberta-mini", offline=True).tokenizer
    for tokenizer in (result, bundled):
        assert tokenizer.added_tokens_decoder[tokenizer.mask_token_id].lstrip
        assert "\u0120" not in tokenizer.tokenize("the <mask> cat")


@pytest.mark.slow
def test_two_builds_give_the_same_files(builder, tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for split, name in (("train", "train"), ("validation", "valid")):
        shutil.copy(FOLDER.parent / "data" / "stories-mini" / f"{split}.txt", text / f"{name}.txt")
    result = []
    for number in ("1", "2"):
        words = [
            "--text",
            text,
            "--work",
            tmp_path / f"work{number}",
            "--out",
            tmp_path / number,
            "--only",
            "bert",
            "--steps",
            2,
        ]
        subprocess.run([sys.executable, builder.__file__, *map(str, words)], check=True, capture_output=True)
        folder = tmp_path / number / "bert-mini"
        result.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert result[0] == result[1] and "model.safetensors" in result[0]
