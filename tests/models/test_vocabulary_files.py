"""Folders of older models without tokenizer.json: vocab.json with merges.txt, or vocab.txt."""

import json
import shutil

import pytest
import transformers

from hftool import workflow
from hftool.models import load_tokenizer, read_model_config
from hftool.models.tokenizer import save_tokenizer, tokenizer_notes
from support import families

MASKED = "the <mask> cat is <mask> . the<mask>"


def byte_pairs(folder, kind="RobertaConfig", **files):
    """A folder with vocab.json, merges.txt and the given JSON files (by stem), but no tokenizer.json."""
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


def mask_token(lstrip):
    return {"content": "<mask>", "lstrip": lstrip, "rstrip": False, "normalized": False, "single_word": False}


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("RobertaConfig", {}),
        ("RobertaConfig", {"tokenizer_config": {"tokenizer_class": "RobertaTokenizer", "model_max_length": 64}}),
        ("RobertaConfig", {"tokenizer_config": {"mask_token": "<mask>"}}),
        ("RobertaConfig", {"special_tokens_map": {"mask_token": "<mask>", "pad_token": "<pad>"}}),
        ("RobertaConfig", {"special_tokens_map": {"mask_token": mask_token(True)}}),
        ("BartConfig", {}),
        ("LongformerConfig", {}),
    ],
)
def test_mask_token_includes_the_space_before_it(kind, files, tmp_path):
    config = byte_pairs(tmp_path, kind, **files)
    tokenizer = load_tokenizer(tmp_path, config)
    assert lone_blanks(tokenizer) == 0
    ids = tokenizer(MASKED)["input_ids"]
    assert ids.count(tokenizer.mask_token_id) == 3 and tokenizer.mask_token_id < len(tokenizer)
    (tmp_path / "saved").mkdir()
    config.save_pretrained(tmp_path / "saved")
    save_tokenizer(tokenizer, tmp_path / "saved")
    for reloaded in (
        load_tokenizer(tmp_path / "saved", config),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"),
    ):
        assert reloaded(MASKED)["input_ids"] == ids


@pytest.mark.parametrize(
    "files",
    [
        {"special_tokens_map": {"mask_token": mask_token(False)}},
        {"tokenizer_config": {"mask_token": {"__type": "AddedToken", **mask_token(False)}}},
        {"tokenizer_config": {"added_tokens_decoder": {"4": {**mask_token(False), "special": True}}}},
    ],
)
def test_declared_mask_token_is_unchanged(files, tmp_path):
    assert lone_blanks(load_tokenizer(tmp_path, byte_pairs(tmp_path, **files))) == 2


def test_gpt2_has_no_mask_token(tmp_path):
    assert load_tokenizer(tmp_path, byte_pairs(tmp_path, "GPT2Config")).mask_token is None


def test_fill_is_trained_and_answers_from_such_a_folder(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("roberta"), folder)
    config = read_model_config(folder)
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
    ]  # trained with transformers 5
    decoded = [answer["masks"] for answer in workflow.infer(workflow.load(str(folder)), ["the <mask> cat is"])]
    assert len(decoded[0]) == len(whole[0]) == 1
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
    ("words", "kind", "settings", "text", "keeps_case"),
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
def test_vocabulary_with_capitals_keeps_case_by_default(words, kind, settings, text, keeps_case, tmp_path):
    tokenizer = load_tokenizer(tmp_path, word_pieces(tmp_path, words, kind, settings))
    decoded = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert decoded == (text if keeps_case else text.lower())
    notes = tokenizer_notes(tokenizer, tmp_path)
    assert len(notes) == (keeps_case and "do_lower_case" not in (settings or {})) and all(
        "its vocab.txt has capitals" in one for one in notes
    )


def test_case_decision_is_reported_and_saved(tmp_path, cli):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("bert"), folder)
    config = read_model_config(folder)
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


@pytest.mark.parametrize(("notes", "lower_cases"), [(True, False), (False, True)])
def test_contradiction_of_config_and_tokenizer_json_is_reported(notes, lower_cases, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("bert"), folder)
    for name, change in (("tokenizer_config", {"do_lower_case": notes}), ("tokenizer", {})):
        values = json.loads((folder / f"{name}.json").read_text())
        if name == "tokenizer":
            values["normalizer"]["lowercase"] = lower_cases
        (folder / f"{name}.json").write_text(json.dumps({**values, **change}))
    tokenizer = load_tokenizer(folder, read_model_config(folder))
    assert (tokenizer("THE")["input_ids"] == tokenizer("the")["input_ids"]) == lower_cases
    [note] = tokenizer_notes(tokenizer, folder)
    assert "says do_lower_case" in note and "tokenizer.json decides" in note
    assert (
        tokenizer_notes(
            load_tokenizer(families.folder("bert"), read_model_config(families.folder("bert"))), families.folder("bert")
        )
        == ()
    )
