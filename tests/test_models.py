"""Loading, saving and describing models."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import SENTENCES, film_rows, one_line, write_tsv
from hftool.errors import ConfigError, DataError, InputMissing
from hftool.heads.model_card import write_model_card
from hftool.models import (
    HeadConfig,
    describe,
    length_limit,
    load_model,
    load_tokenizer,
    meta_model,
    read_head_config,
    read_model_config,
    save_model,
    write_head_config,
)
from hftool.storage.stand_ins import StandIn
from support.memory import PEAK

AUTO = "AutoModelForSequenceClassification"
HEAD_CONFIG = HeadConfig(head="classify", labels=("bad", "good"), max_length=32)
CORPUS = [text for group in SENTENCES.values() for text in group] + [
    "number 0 1 2 3 4 5 6 7 8 9",
    *"abcdefghijklmnopqrstuvwxyz",
]


@pytest.fixture
def folder(tiny_bert, tmp_path):
    return shutil.copytree(tiny_bert, tmp_path / "model")


@pytest.fixture(scope="module")
def tiny_gpt2(tmp_path_factory):
    """No pad token, as the real one; 32 positions."""
    from transformers import GPT2Config, GPT2Model, GPT2Tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "gpt2"
    tokenizer = GPT2Tokenizer().train_new_from_iterator(CORPUS, 400)
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2Model(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=32, **ends)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory):
    """34 positions, of which 33 can be used: this one pads with token 0, where the real one pads with 1."""
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny") / "roberta"
    tokenizer = RobertaTokenizer().train_new_from_iterator(CORPUS, 400)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=34,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder, head_config=HEAD_CONFIG, new_head=True):
    return load_model(folder, AUTO, head_config=head_config, new_head=new_head)


def rewrite(folder, change):
    """The weights of a folder, changed."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def logits(model, tokenizer, texts):
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_gpt2", "tiny_roberta"])
def test_a_saved_model_loads_with_plain_transformers_and_answers_bitwise_alike(family, request, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    loaded = load(request.getfixturevalue(family))
    assert loaded.new_weights and not loaded.model.training
    out = tmp_path / "saved"
    out.mkdir()
    save_model(loaded.model, loaded.tokenizer, HEAD_CONFIG, out)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    texts = ["a warm film", "a cold dull film with a cast", "joy"]
    assert torch.equal(logits(model, tokenizer, texts), logits(loaded.model, loaded.tokenizer, texts))
    assert model.config.id2label == {0: "bad", 1: "good"} and model.config.label2id == {"bad": 0, "good": 1}
    assert not [p.name for p in out.iterdir() if p.suffix not in (".json", ".safetensors")]
    again = load(out, head_config=read_head_config(out), new_head=False)
    assert again.head_config == HEAD_CONFIG and again.new_weights == ()
    assert torch.equal(logits(again.model, again.tokenizer, texts), logits(loaded.model, loaded.tokenizer, texts))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_loaded_as_fp32(folder, dtype):
    rewrite(folder, lambda weights: weights.update({k: v.to(dtype) for k, v in weights.items()}))
    change_json(folder / "config.json", dtype=str(dtype).removeprefix("torch."))
    model = load(folder).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    kept = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, kept.float())


def test_missing_head_is_78_with_the_next_command(folder, cli):
    with pytest.raises(ConfigError) as caught:
        load(folder, new_head=False)
    assert str(caught.value) == (
        f"the model in '{folder}' has no trained head: it lacks classifier.bias, classifier.weight. "
        "Fine-tune it first: hftool finetune MODEL TASK"
    )
    code, out, err = cli("classify", folder, "a warm film")
    assert (code, out) == (78, "")
    assert "has no trained head: it lacks classifier.bias, classifier.weight" in one_line(err)


def test_another_architecture_is_78_with_the_first_five_keys(tiny_roberta, folder):
    shutil.copy(tiny_roberta / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ConfigError, match="are of another architecture: they lack") as caught:
        load(folder)
    assert caught.value.code == 78
    named = caught.value.detail.split("they lack ")[1].split(", ")
    assert len(named) == 5 and all(name.startswith("bert.") for name in named)


def test_a_missing_layer_is_78_even_where_the_head_may_be_new(folder):
    rewrite(folder, lambda weights: weights.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(ConfigError, match=r"another architecture: they lack bert.encoder.layer.1.output.dense.weight"):
        load(folder)


def test_a_head_of_three_labels_is_not_used_for_two(folder, tmp_path):
    three = load(folder, head_config=HeadConfig(head="classify", labels=("a", "b", "c")))
    out = tmp_path / "saved"
    out.mkdir()
    save_model(three.model, three.tokenizer, three.head_config, out)
    with pytest.raises(ConfigError, match="do not fit"):
        load(out, new_head=False)
    assert load(out).new_weights == ("classifier.bias", "classifier.weight")


def test_a_tokenizer_of_another_model_is_78(folder):
    change_json(folder / "config.json", vocab_size=100)
    rewrite(
        folder,
        lambda w: w.update({"embeddings.word_embeddings.weight": w["embeddings.word_embeddings.weight"][:100].contiguous()}),
    )
    with pytest.raises(ConfigError, match=r"does not fit together: its tokenizer has \d+ tokens, its model 100"):
        load(folder)


def test_missing_tokenizer_is_66(folder, cli):
    (folder / "tokenizer.json").unlink()
    code, out, err = cli("tokenize", folder, "a warm film")
    assert (code, out) == (66, "")
    assert one_line(err).startswith(f"hftool: '{folder}' has no tokenizer. Copy tokenizer.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": "1.0"', '{"version": "1.0", "model": {"type": "Evil"}}'])
def test_a_damaged_tokenizer_is_65(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match=f"the tokenizer in '{folder}' is damaged"):
        load_tokenizer(folder, read_model_config(folder))


def test_a_tokenizer_without_pad_and_end_is_78(folder):
    change_json(folder / "tokenizer_config.json", pad_token=None, tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ConfigError, match="has neither a pad token nor an end token"):
        load(folder)


@pytest.mark.parametrize(
    "values",
    [{"hidden_size": "wide"}, {"model_type": "nonesuch"}, {"dtype": "evil"}, {"num_hidden_layers": None}, {"hidden_size": []}],
)
def test_a_config_of_wrong_values_is_65(folder, values, cli):
    change_json(folder / "config.json", **values)
    code, out, err = cli("info", folder)
    assert (code, out) == (65, "")
    assert one_line(err).startswith(f"hftool: '{folder / 'config.json'}' is ")
    assert values.keys() & {"model_type", "dtype"} or next(iter(values)) in err


def test_heads_that_do_not_divide_the_width_are_78(folder):
    change_json(folder / "config.json", num_attention_heads=5)
    with pytest.raises(ConfigError, match="not a multiple of the number of attention heads"):
        load(folder)


def test_padding_and_truncation_stored_in_a_tokenizer_are_removed(folder, tmp_path):
    from tokenizers import Tokenizer

    baked = Tokenizer.from_file(str(folder / "tokenizer.json"))
    baked.enable_padding(length=128)
    baked.enable_truncation(max_length=4)
    baked.save(str(folder / "tokenizer.json"))
    loaded = load(folder)
    assert loaded.tokenizer.backend_tokenizer.padding is None and loaded.tokenizer.backend_tokenizer.truncation is None
    text = "a warm funny film number 1 2 3"
    assert 4 < len(loaded.tokenizer(text)["input_ids"]) < 20
    from hftool.heads.classify.head import ClassifyHead

    short = ClassifyHead(loaded.tokenizer, HeadConfig(head="classify", labels=("a", "b"), max_length=5))
    assert short.encode([{"text": text}])[0].length == 5  # a call that cuts leaves its limit in the tokenizer
    out = tmp_path / "saved"
    out.mkdir()
    save_model(loaded.model, loaded.tokenizer, HEAD_CONFIG, out)
    saved = json.loads((out / "tokenizer.json").read_text())
    assert saved["padding"] is None and saved["truncation"] is None


@pytest.mark.parametrize(("family", "limit"), [("tiny_bert", 64), ("tiny_gpt2", 32), ("tiny_roberta", 33)])
def test_the_length_limit_is_the_longest_that_runs(family, limit, request):
    loaded = load(request.getfixturevalue(family))
    assert length_limit(loaded.tokenizer, loaded.model.config) == limit
    ids = torch.full((1, limit + 1), 7)
    loaded.model(input_ids=ids[:, :limit])
    with pytest.raises((IndexError, RuntimeError)):
        loaded.model(input_ids=ids)


def test_a_real_roberta_takes_two_tokens_less_than_it_has_positions(tiny_roberta):
    from transformers import RobertaConfig

    tokenizer = load_tokenizer(tiny_roberta, read_model_config(tiny_roberta))
    assert length_limit(tokenizer, RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512


@pytest.mark.parametrize("family", ["tiny_gpt2", "tiny_roberta"])
def test_other_families_train_and_classify_with_the_same_commands(family, request, film_files, cli):
    """Texts longer than the model's limit among them, and batches of several rows although GPT-2 has no pad token."""
    rows = film_rows(80)
    rows[3]["sentence"] = rows[3]["sentence"] + " film" * 50
    write_tsv(film_files / "train.tsv", rows[:64])
    folder = request.getfixturevalue(family)
    files = ["--train", film_files / "train.tsv", "--validation", film_files / "dev.tsv"]
    code, out, err = cli(
        "finetune", folder, "sst2", *files, "--max-steps", 1, "--batch-size", 8, "--out", "run", "-q", "--offline"
    )
    assert code == 0, err
    texts = ["a warm film", "a cold and dull film with a cast that is a disaster", "joy"]
    code, out, err = cli("classify", "run", *texts, "--json")
    assert code == 0, err
    together = [answer["probabilities"] for answer in _answers(out)]
    for text, answer in zip(texts, together, strict=True):
        code, out, err = cli("classify", "run", text, "--json")
        assert _answers(out)[0]["probabilities"] == pytest.approx(answer, abs=1e-5)
    assert json.loads((film_files / "run" / "model" / "config.json").read_text())["pad_token_id"] is not None


def _answers(out):
    loaded = json.loads(out)
    return loaded if isinstance(loaded, list) else loaded["answers"]


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_gpt2", "tiny_roberta"])
def test_describe_counts_what_the_real_model_has(family, request):
    folder = request.getfixturevalue(family)
    facts, model = describe(folder, AUTO, batch_size=4, length=16), load(folder).model
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["bytes_in_memory"] == 4 * facts["parameters"]
    body = dict(model.base_model.named_children())
    named = {n: sum(p.numel() for p in c.parameters()) for n, c in body.items()}
    named = {name: count for name, count in named.items() if count}
    parts = dict(facts["parameters_by_part"])
    assert parts.pop("head") == facts["parameters"] - sum(named.values())
    assert parts == named
    assert (facts["layers"], facts["hidden_size"], facts["attention_heads"]) == (2, 32, 2)
    assert facts["bytes_on_disk"] == (folder / "model.safetensors").stat().st_size
    assert facts["memory_to_train"] > facts["memory_to_infer"] > facts["bytes_in_memory"]
    assert {p.device.type for p in meta_model(read_model_config(folder), AUTO).parameters()} == {"meta"}


MEASURE = (
    PEAK
    + """
import json, sys, torch
from transformers import BertConfig, BertForSequenceClassification
config = BertConfig(hidden_size=512, num_hidden_layers=8, num_attention_heads=8, intermediate_size=2048)
base = peak() * 1024
model = BertForSequenceClassification(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
for _ in range(2):
    ids = torch.randint(5, 30000, (BATCH, LENGTH))
    model(input_ids=ids, labels=torch.zeros(BATCH, dtype=torch.long)).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(peak() * 1024 - base)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "length"), [(4, 128), (16, 128), (4, 512)])
def test_the_memory_estimate_is_within_a_factor_of_two(tmp_path, tiny_bert, batch, length):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=512, num_hidden_layers=8, num_attention_heads=8, intermediate_size=2048)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    program = MEASURE.replace("BATCH", str(batch)).replace("LENGTH", str(length))
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    measured = float(result.stdout)
    estimated = describe(tmp_path, AUTO, batch_size=batch, length=length)["memory_to_train"]
    assert 0.5 < estimated / measured < 2, (estimated, measured)


def test_head_config_round_trip(tmp_path):
    head_config = HeadConfig(
        head="classify",
        task="sst2",
        columns={"text": "sentence"},
        labels=("schlecht", "gut"),
        label_values=("0", "1"),
        max_length=128,
        class_weights=(0.5, 1.5),
        metrics={"test": {"rows": 3, "accuracy": 0.5}},
    )
    write_head_config(tmp_path, head_config)
    assert read_head_config(tmp_path) == head_config
    assert read_head_config(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"head": "classify", "color": 1}', r"unknown keys \['color'\]"), ('{"task": "x"}', "no key 'head'")],
)
def test_head_config_of_another_version_is_78(tmp_path, text, message):
    (tmp_path / "hftool.json").write_text(text)
    with pytest.raises(ConfigError, match=f"does not fit this version: {message}"):
        read_head_config(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_head_config_that_is_not_a_json_object_is_66(tmp_path, text):
    (tmp_path / "hftool.json").write_text(text)
    with pytest.raises(InputMissing):
        read_head_config(tmp_path)


def test_readme_contains_the_metrics(tmp_path):
    measured = {"validation": {"rows": 10, "accuracy": 0.9, "macro_f1": 0.85}}
    write_model_card(
        tmp_path,
        HeadConfig(
            head="classify",
            task="sst2",
            labels=("a", "b"),
            base="o/n",
            revision="abc",
            metrics=measured,
            stand_in={"model": StandIn("y", "x")},
        ),
        "BertForSequenceClassification",
    )
    text = (tmp_path / "README.md").read_text()
    assert "| split | rows | accuracy | macro_f1 |\n|---|---|---|---|\n| validation | 10 | 0.9000 | 0.8500 |" in text
    assert "pipeline_tag: text-classification\n" in text and "import BertForSequenceClassification, AutoTokenizer\n" in text
    assert "base_model: o/n\n" in text and "A stand-in was used: x for y (model)" in text and "revision `abc`" in text
    write_model_card(tmp_path, HeadConfig(head="classify", task="sst2", base="/a/b"), "BertForSequenceClassification")
    text = (tmp_path / "README.md").read_text()
    assert "Not measured." in text and "base_model" not in text
