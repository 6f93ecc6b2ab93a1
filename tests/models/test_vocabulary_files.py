"""Folders without tokenizer.json: vocab.json and merges.txt, or a vocab.txt, as older models are published."""

import json
import shutil

import pytest
import transformers

from hftool import workflow
from hftool.models import load_tokenizer, read_config
from hftool.models.tokenizer import save_tokenizer, tokenizer_notes
from support import families

MASKED = "the <mask> cat is <mask> . the<mask>"


def byte_pairs(folder, kind="RobertaConfig", **files):
    """A folder with vocab.json and merges.txt alone, and JSON files by their names."""
    folder.mkdir(exist_ok=True)
    model = json.loads((families.folder("roberta") / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    config = getattr(transformers, kind)()
    config.save_pretrained(folder)
    return config


def lone_blanks(tokenizer, text=MASKED):
    return tokenizer.tokenize(text).count("\u0120")


def flags(lstrip):
    return {"content": "<mask>", "lstrip": lstrip, "rstrip": False, "normalized": False, "single_word": False}


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("RobertaConfig", {}),
        ("RobertaConfig", {"tokenizer_config": {"tokenizer_class": "RobertaTokenizer", "model_max_length": 64}}),
        ("RobertaConfig", {"tokenizer_config": {"mask_token": "<mask>"}}),
        ("RobertaConfig", {"special_tokens_map": {"mask_token": "<mask>", "pad_token": "<pad>"}}),
        ("RobertaConfig", {"special_tokens_map": {"mask_token": flags(True)}}),
        ("BartConfig", {}),
        ("LongformerConfig", {}),
    ],
)
def test_a_mask_stands_for_the_blank_before_it(kind, files, tmp_path):
    config = byte_pairs(tmp_path, kind, **files)
    tokenizer = load_tokenizer(tmp_path, config)
    assert lone_blanks(tokenizer) == 0
    ids = tokenizer(MASKED)["input_ids"]
    assert ids.count(tokenizer.mask_token_id) == 3 and tokenizer.mask_token_id < len(tokenizer)
    (tmp_path / "saved").mkdir()
    config.save_pretrained(tmp_path / "saved")
    save_tokenizer(tokenizer, tmp_path / "saved")
    for again in (load_tokenizer(tmp_path / "saved", config), transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert again(MASKED)["input_ids"] == ids


@pytest.mark.parametrize(
    "files",
    [
        {"special_tokens_map": {"mask_token": flags(False)}},
        {"tokenizer_config": {"mask_token": {"__type": "AddedToken", **flags(False)}}},
        {"tokenizer_config": {"added_tokens_decoder": {"4": {**flags(False), "special": True}}}},
    ],
)
def test_a_mask_that_its_makers_described_is_as_they_say(files, tmp_path):
    assert lone_blanks(load_tokenizer(tmp_path, byte_pairs(tmp_path, **files))) == 2


def test_a_folder_of_gpt2_gets_no_mask(tmp_path):
    assert load_tokenizer(tmp_path, byte_pairs(tmp_path, "GPT2Config")).mask_token is None


def test_fill_learns_and_answers_from_such_a_folder(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("roberta"), folder)
    config = read_config(folder)
    byte_pairs(folder)
    config.save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    whole = [
        answer["masks"] for answer in workflow.infer(workflow.load(str(families.folder("roberta"))), ["the <mask> cat is"])
    ]
    right = json.loads((families.folder("roberta") / "tokenizer.json").read_text())
    assert [one["lstrip"] for one in right["added_tokens"] if one["content"] == "<mask>"] == [
        False
    ]  # trained by transformers 5
    made = [answer["masks"] for answer in workflow.infer(workflow.load(str(folder)), ["the <mask> cat is"])]
    assert len(made[0]) == len(whole[0]) == 1
    [tokens] = workflow.tokenize(str(folder), ["the <mask> cat"])
    assert tokens.tokens == ["<s>", "the", "<mask>", "\u0120cat", "</s>"]


CASED = [*families.WORDS, *(word.capitalize() for word in families.WORDS if word.isalpha())]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
LETTERS = [*families.LETTERS, *(f"##{letter}" for letter in families.LETTERS)]


def word_pieces(folder, words, kind="BertConfig", settings=None):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in dict.fromkeys([*SPECIAL, *words, *LETTERS])))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = getattr(transformers, kind)()
    config.save_pretrained(folder)
    return config


RUSSIAN = ["кот", "Кот", "дом", "Дом", "мир", "Мир"] * 1 + [f"Слово{letter}" for letter in "абвгде"]


@pytest.mark.parametrize(
    ("words", "kind", "settings", "text", "keeps"),
    [
        (CASED, "BertConfig", None, "The Cat", True),
        (CASED, "BertConfig", {"tokenizer_class": "BertTokenizer", "model_max_length": 64}, "The Cat", True),
        (CASED, "ElectraConfig", None, "The Cat", True),
        (CASED, "DistilBertConfig", {"model_max_length": 64}, "The Cat", True),
        (RUSSIAN, "BertConfig", None, "Кот", True),
        (CASED, "BertConfig", {"do_lower_case": True}, "The Cat", False),
        (CASED, "BertConfig", {"do_lower_case": False}, "The Cat", True),
        (families.WORDS, "BertConfig", None, "The Cat", False),
        ([*families.WORDS, "COVID", "WHO"], "BertConfig", None, "The Cat", False),
        (["你", "好", "世", "界", *"123456"], "BertConfig", None, "The Cat", False),
    ],
)
def test_a_vocabulary_with_capitals_keeps_case_where_nothing_else_is_said(words, kind, settings, text, keeps, tmp_path):
    tokenizer = load_tokenizer(tmp_path, word_pieces(tmp_path, words, kind, settings))
    made = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert made == (text if keeps else text.lower())
    said = tokenizer_notes(tokenizer, tmp_path)
    assert len(said) == (keeps and "do_lower_case" not in (settings or {})) and all(
        "its vocab.txt has capitals" in one for one in said
    )


def test_it_is_said_and_kept(tmp_path, cli):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("bert"), folder)
    config = read_config(folder)
    word_pieces(folder, CASED, settings={"model_max_length": 64})
    config.vocab_size = len({*SPECIAL, *CASED, *LETTERS})
    families._bert([None] * config.vocab_size).save_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    code, out, err = cli("tokenize", folder, "The Cat")
    assert (
        code == 0 and "The" in out and err.count("nothing says whether case is kept; its vocab.txt has capitals, so it is") == 1
    )
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.classify_rows(16))
    code, out, err = cli(
        "finetune", folder, rows, "--set", "max_steps=1", "--set", "allow_leak=true", "--out", tmp_path / "run"
    )
    assert code == 0 and err.count("its vocab.txt has capitals, so it is") == 1
    code, out, err = cli("tokenize", tmp_path / "run", "The Cat")
    assert code == 0 and "The" in out and "capitals" not in err


@pytest.mark.parametrize(("said", "does"), [(True, False), (False, True)])
def test_where_the_config_contradicts_tokenizer_json_that_is_said(said, does, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("bert"), folder)
    for name, change in (("tokenizer_config", {"do_lower_case": said}), ("tokenizer", {})):
        values = json.loads((folder / f"{name}.json").read_text())
        if name == "tokenizer":
            values["normalizer"]["lowercase"] = does
        (folder / f"{name}.json").write_text(json.dumps({**values, **change}))
    tokenizer = load_tokenizer(folder, read_config(folder))
    assert (tokenizer("THE")["input_ids"] == tokenizer("the")["input_ids"]) == does
    [note] = tokenizer_notes(tokenizer, folder)
    assert "says do_lower_case" in note and "tokenizer.json decides" in note
    assert (
        tokenizer_notes(load_tokenizer(families.folder("bert"), read_config(families.folder("bert"))), families.folder("bert"))
        == ()
    )
