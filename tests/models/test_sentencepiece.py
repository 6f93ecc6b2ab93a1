"""Folders with a sentencepiece model and no tokenizer.json, such as google/mt5-small."""

import io
import json

import pytest
import transformers
from tokenizers import Tokenizer

from hftool import workflow
from hftool.errors import ConfigError, DataError
from hftool.models import load_tokenizer, read_model_config
from hftool.models.tokenizer import PROBES
from support import families

TEXTS = [*PROBES, "the red cat is warm .", "The  RED cat", "x\u00a0y １２３", ""]
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
MT5 = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0, "additional_special_tokens": None}


def trained(path, **options):
    """Trains a sentencepiece model, saves it at `path`, and returns its processor."""
    import sentencepiece

    model_bytes = io.BytesIO()
    usual = {"vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1, "model_type": "unigram"}
    texts = iter([*families.CORPUS, *PROBES])
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=texts, model_writer=model_bytes, **{**usual, **options})
    path.write_bytes(model_bytes.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model_bytes.getvalue())


def with_pieces(folder, kind, name="spiece.model", settings=None, **options):
    """Writes a folder with config and sentencepiece model; returns its hftool tokenizer and its sentencepiece processor."""
    folder.mkdir(exist_ok=True)
    pieces = trained(folder / name, **options)
    config = getattr(transformers, kind)()
    config.save_pretrained(folder)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_tokenizer(folder, config), pieces


@pytest.mark.parametrize(
    ("kind", "settings", "extra"),
    [
        ("T5Config", None, {}),
        ("T5Config", {"tokenizer_class": "T5Tokenizer", "extra_ids": 100}, {}),
        ("T5Config", None, {"normalization_rule_name": "nmt_nfkc_cf"}),
        ("MT5Config", {**MT5, "tokenizer_class": "T5Tokenizer"}, {}),
        ("MT5Config", {**MT5, "tokenizer_class": "MT5Tokenizer"}, {}),
        ("MT5Config", {"extra_ids": 0}, {"vocab_size": 500}),
    ],
)
def test_t5_and_mt5_ids_equal_those_of_sentencepiece(kind, settings, extra, tmp_path):
    tokenizer, pieces = with_pieces(tmp_path, kind, settings=settings, **T5, **extra)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == [*pieces.encode(text), pieces.eos_id()]
    assert len(tokenizer) == pieces.get_piece_size() + (settings or {}).get("extra_ids", 100)
    if kind == "T5Config":
        assert tokenizer("<extra_id_0>")["input_ids"] == [len(tokenizer) - 1, 1]


@pytest.mark.parametrize("kind", ["XLMRobertaConfig", "CamembertConfig"])
def test_pieces_of_other_families_equal_those_of_sentencepiece(kind, tmp_path):
    tokenizer, pieces = with_pieces(tmp_path, kind, "sentencepiece.bpe.model", bos_id=1, eos_id=2, unk_id=0)
    known = [piece if pieces.piece_to_id(piece) else "<unk>" for piece in pieces.encode(TEXTS[8], out_type=str)]
    assert tokenizer.convert_ids_to_tokens(tokenizer(TEXTS[8])["input_ids"]) == ["<s>", *known, "</s>"]


def test_saved_folder_has_a_tokenizer_json_with_the_same_ids(tmp_path):
    from hftool.models.tokenizer import save_tokenizer

    tokenizer, _ = with_pieces(tmp_path / "pieces", "T5Config", **T5)
    out = tmp_path / "saved"
    out.mkdir()
    read_config_of(tmp_path / "pieces").save_pretrained(out)
    save_tokenizer(tokenizer, out)
    saved_tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert tokenizer(TEXTS)["input_ids"] == [saved_tokenizer.encode(text).ids for text in TEXTS]
    assert load_tokenizer(out, read_config_of(out))(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def read_config_of(folder):
    return read_model_config(folder, weights=False)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("T5Config", {"add_dummy_prefix": False}),
        ("T5Config", {"model_type": "bpe"}),
        ("T5Config", {"remove_extra_whitespaces": False}),
        ("T5Config", {"byte_fallback": True, "vocab_size": 700, "character_coverage": 0.98}),
        ("BigBirdConfig", {}),
    ],
)
def test_models_that_transformers_cannot_convert_are_78(kind, extra, tmp_path):
    with pytest.raises(ConfigError, match="other pieces than sentencepiece does") as raised:
        with_pieces(tmp_path, kind, **T5, **extra)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"no model", b"\x00\xff" * 40, b'{"version": "1.0"}'])
@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model"])
def test_damaged_model_is_65_without_mention_of_tiktoken(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    config = transformers.T5Config() if name == "spiece.model" else transformers.XLMRobertaConfig()
    config.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="is damaged") as raised:
        load_tokenizer(tmp_path, config)
    assert "tiktoken" not in str(raised.value)


def test_t5_without_tokenizer_json_is_trained_and_answers(tmp_path):
    folder = tmp_path / "model"
    tokenizer, pieces = with_pieces(folder, "T5Config", settings={"extra_ids": 0}, **T5)
    families._t5(tokenizer).save_pretrained(folder)
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES["text2text"][1](16))
    config = {"train": str(rows), "validation": str(rows), "allow_leak": True, "max_steps": 1}
    result = workflow.finetune(str(folder), config=config, head="text2text", out=tmp_path / "run")
    for model in (folder, result.run.path):
        assert workflow.tokenize(str(model), [TEXTS[0]], max_length=200)[0].ids == [*pieces.encode(TEXTS[0]), 1]
    assert len(workflow.infer(workflow.load(str(result.run.path)), ["red cat"])) == 1
