"""An architecture that the registry has no row for: its facts come from its config, with a notice."""

import json
import shutil

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import ConfigError, DataError, UsageError
from hftool.workflow import _infer
from support import families

FACTS = "'electra' is no family that hftool knows: its facts are taken from the model's config"


@pytest.mark.parametrize("head_case", ["classify", "regression", "pairs", "tag", "answer", "fill", "embed"])
def test_it_learns_by_the_same_heads(head_case):
    result, notices = families.trained_run("electra", head_case)
    measured = result.metrics["validation"]
    assert measured["perplexity"] < 3 if head_case == "fill" else measured["loss"] < 0.05
    assert notices.count(FACTS) == 1
    texts, pairs = families.inputs_of(head_case, families.HEAD_CASES[head_case][1](4))
    events = []
    assert len(workflow.infer(str(result.run.path), texts, pairs=pairs, progress=events.append)) == 4
    assert FACTS in [event.text for event in events]


@pytest.mark.parametrize(("head", "able"), [("text2text", "'t5', 'mt5'"), ("generate", "'gpt2'")])
def test_a_head_that_it_cannot_do_is_refused(head, able, tmp_path):
    """Generating, too: transformers has a class for it, in which each token sees those that it is to predict."""
    folder = str(families.folder("electra"))
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES[head][1]())
    with pytest.raises(UsageError, match=f"family electra, which cannot do '{head}'") as caught:
        workflow.load(folder, head=head)
    assert caught.value.code == 2
    assert caught.value.hint == f"Families that can: {able}"
    with pytest.raises(UsageError, match=f"cannot do '{head}'"):
        workflow.finetune(folder, str(rows), head=head, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_head_is_that_of_its_config(tmp_path):
    loaded = workflow.load(str(families.folder("electra")))
    assert loaded.head_config.head == "fill" and not loaded.new_weights
    assert len(workflow.infer(loaded, ["the [MASK] cat"])[0]["masks"][0]["fills"]) == 5


def test_an_encoder_with_a_generating_class_does_not_generate():
    """Every family of four, too, has such classes in transformers; only the decoder is offered to write."""
    assert {kind: "generate" in workflow.info(str(families.folder(kind)))["heads"] for kind in families.KINDS} == {
        "bert": False,
        "roberta": False,
        "gpt2": True,
        "t5": False,
        "electra": False,
        "xlm-roberta": False,
    }


@pytest.fixture(scope="module")
def camembert(tmp_path_factory):
    """An encoder that AutoModelForTextEncoding does not know, which counts its positions as RoBERTa does; and a tokenizer that
    knows no limit."""
    from transformers import AutoTokenizer, CamembertConfig, CamembertForMaskedLM

    folder = tmp_path_factory.mktemp("camembert") / "camembert"
    tokenizer = AutoTokenizer.from_pretrained(families.folder("xlm-roberta"))
    known = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 66,
        "type_vocab_size": 1,
    }
    CamembertForMaskedLM(CamembertConfig(**known, **families.SIZE)).save_pretrained(folder)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(folder)
    return folder


def test_any_encoder_embeds(camembert):
    assert "embed" in workflow.info(str(camembert))["heads"]
    loaded = workflow.load(str(camembert), head="embed")
    assert type(loaded.model).__name__ == "CamembertModel" and not loaded.new_weights
    vectors = workflow.embed(loaded, ["the red cat", "ann went to rome with a cat ."])
    assert np.allclose(vectors[0], workflow.embed(loaded, ["the red cat"])[0], atol=1e-5)


def test_positions_that_are_counted_from_the_pad_token_are_no_room(camembert):
    [answer] = workflow.infer(workflow.load(str(camembert), head="embed"), ["the red cat " * 50])
    assert answer["cut"] == 3 * 50 + 2 - 64 and np.isfinite(answer["embedding"]).all()


SWITCHES = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        (SWITCHES, "cls"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
    ],
)
def test_a_sentence_model_pools_as_it_was_trained(settings, pooling, tmp_path):
    folder = str(_sentence_model(tmp_path / "model", settings, "Transformer", "Pooling", "Normalize"))
    texts, notices = ["the red cat", "a blue dog ."], []
    loaded = workflow.load(folder, progress=notices.append)
    assert (loaded.head_config.head, loaded.head_config.pooling) == ("embed", pooling) and not notices
    assert np.array_equal(workflow.embed(loaded, texts), workflow.embed(folder, texts, pooling=pooling))
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES["embed"][1](16))
    config = {"train": str(rows), "validation": str(rows), "allow_leak": True, "max_steps": 1}
    created = workflow.finetune(folder, config=config, head="embed", out=tmp_path / "run")
    assert workflow.load(str(created.run.path)).head_config.pooling == pooling
    again = workflow.finetune(str(created.run.model), config=config, head="embed", out=tmp_path / "again")
    assert workflow.load(str(again.run.path)).head_config.pooling == pooling


@pytest.mark.parametrize(
    ("settings", "last", "missed"),
    [
        ({"pooling_mode": "lasttoken"}, "Normalize", "pooling by lasttoken"),
        ({"pooling_mode": ["cls", "max"]}, "Normalize", "pooling by cls and max"),
        (SWITCHES, "Dense", "Dense"),
    ],
)
def test_unsupported_parts_of_a_sentence_model_are_named(settings, last, missed, tmp_path):
    notices = []
    workflow.load(str(_sentence_model(tmp_path / "model", settings, "Transformer", "Pooling", last)), progress=notices.append)
    [notice] = [event.text for event in notices if event.kind == "notice"]
    assert f"was made with {missed}, which hftool does not do: its vectors are others" in notice


def test_a_sentence_model_that_is_damaged_or_leaves_its_folder(tmp_path):
    folder = _sentence_model(tmp_path / "model", SWITCHES, "Transformer", "Pooling")
    (tmp_path / "elsewhere").mkdir()
    for location in ("../elsewhere", ".."):
        (folder / location / "config.json").write_text(json.dumps(SWITCHES))
        modules = [{"type": "sentence_transformers.models.Pooling", "path": location}]
        (folder / "modules.json").write_text(json.dumps(modules))
        assert workflow.load(str(folder)).head_config.pooling == "mean"
    (folder / "modules.json").write_text("[")
    with pytest.raises(DataError, match="modules.json' is damaged"):
        workflow.load(str(folder))


def _sentence_model(folder, pooling, *kinds):
    """A model folder as sentence-transformers writes it."""
    shutil.copytree(families.folder("bert"), folder)
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    modules = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in zip(kinds, paths, strict=True)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(("limit", "expected"), [(8, 8), (4096, 64), (None, 64)])
def test_a_sentence_model_has_the_length_limit_of_its_config(limit, expected, tmp_path):
    folder = _sentence_model(tmp_path / "model", SWITCHES, "Transformer", "Pooling")
    assert workflow.load(str(folder)).head_config.max_length == 64
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    loaded = workflow.load(str(folder))
    assert loaded.head_config.max_length == expected
    (created,) = _infer.vectors(loaded, ["red " * 20])
    assert created.get("cut") == (20 + 2 - 8 if expected == 8 else None)
    (tokens,) = workflow.tokenize(str(folder), ["red " * 20])  # what it reads
    assert len(tokens.truncated) == created.get("cut", 0)


def test_a_model_without_a_key_value_cache_does_not_generate(tmp_path):
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(families.folder("gpt2"))
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4, **ends)
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    with pytest.raises(ConfigError, match="a mamba has no key-value cache to generate with"):
        workflow.generate(str(tmp_path / "mamba"), ["the"])
