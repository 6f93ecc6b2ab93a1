"""Every verb uses the ids of tokenizer.json exactly; token declarations of other files are merged."""

import json
import shutil

import pytest
from tokenizers import Tokenizer

from hftool import workflow
from hftool.data.readers.tables import Row
from hftool.errors import ConfigError
from hftool.heads import get_head
from hftool.models import HeadConfig, load_tokenizer, read_model_config
from hftool.models.tokenizer import save_tokenizer
from hftool.registry.families import FAMILIES
from support import families
from support.odd_tokenizers import ODD, TEXTS, odd_folder

HEADS = {family.name: family.heads for family in FAMILIES} | {"electra": ("classify",)}


def file_ids(folder, *texts, **options):
    """The ids that the tokenizers library gives for the file."""
    file_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    file_tokenizer.no_truncation()
    file_tokenizer.no_padding()
    return file_tokenizer.encode(*texts, **options).ids


def unusual_folder(name, tmp_path):
    folder = odd_folder(name, tmp_path / "model")
    return folder, read_model_config(folder)


def features(head, tokenizer, config, rows):
    labels = ("a", "b") if head in ("classify", "tag") else ()
    head_config = HeadConfig(head=head, labels=labels, max_length=60, max_new_tokens=8 if head == "generate" else 100)
    return get_head(tokenizer, head_config, config).encode(rows)


@pytest.mark.parametrize("name", ODD)
def test_ids_equal_those_of_the_file(name, tmp_path):
    folder, config = unusual_folder(name, tmp_path)
    tokenizer = load_tokenizer(folder, config)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == file_ids(folder, text), text
        assert tokenizer(text, TEXTS[0])["input_ids"] == file_ids(folder, text, TEXTS[0])
    ids = file_ids(folder, TEXTS[1])
    expected_ids = ids[:-1] if name == "gpt2 ends itself" else ids  # the head encodes a prompt without end token
    assert workflow.tokenize(str(folder), TEXTS[:2])[1].ids == expected_ids


@pytest.mark.parametrize("name", ODD)
def test_training_and_inference_use_the_ids_of_the_file(name, tmp_path):
    folder, config = unusual_folder(name, tmp_path)
    tokenizer, text, other = load_tokenizer(folder, config), TEXTS[4], TEXTS[5]
    whole, bare = file_ids(folder, text), file_ids(folder, text, add_special_tokens=False)
    rows: dict[str, Row] = {
        "classify": {"text": text},
        "embed": {"text": text},
        "text2text": {"source": text, "target": other},
        "generate": {"prompt": text},
        "tag": {"tokens": text.split(), "tags": [0] * len(text.split())},
    }
    for head in HEADS[ODD[name][0]]:
        if head not in rows or (head == "tag" and not bare):
            continue
        [feature] = features(head, tokenizer, config, [rows[head]])
        ids = feature.input_ids.tolist()
        expected = file_ids(folder, " ".join(text.split())) if head == "tag" else bare if head == "generate" else whole
        assert ids[-len(expected) :] == expected, head
        if head == "text2text":
            assert feature.target.tolist() == file_ids(folder, other)


@pytest.mark.parametrize("name", ODD)
def test_saved_tokenizer_is_equal_here_and_in_transformers(name, tmp_path):
    from transformers import AutoTokenizer

    folder, config = unusual_folder(name, tmp_path)
    out = tmp_path / "saved"
    out.mkdir()
    config.save_pretrained(out)
    tokenizer = load_tokenizer(folder, config)
    save_tokenizer(tokenizer, out)
    reloaded = load_tokenizer(out, config)
    for one in (reloaded, AutoTokenizer.from_pretrained(out)):
        feature = one(TEXTS)
        assert feature["input_ids"] == [file_ids(folder, text) for text in TEXTS]
        assert list(feature) == list(tokenizer(TEXTS))
        assert one.mask_token == tokenizer.mask_token and one.eos_token == tokenizer.eos_token
        assert one.all_special_ids == tokenizer.all_special_ids and one.model_max_length == 64


@pytest.mark.parametrize("kind", families.KINDS)
def test_tokenizer_built_by_its_class_keeps_the_class(kind, tmp_path):
    config = read_model_config(families.folder(kind))
    config.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(families.folder(kind), config)
    save_tokenizer(tokenizer, tmp_path)
    before, after = ((folder / "tokenizer_config.json").read_text() for folder in (families.folder(kind), tmp_path))
    assert json.loads(before)["tokenizer_class"] == json.loads(after)["tokenizer_class"] == type(tokenizer).__name__


def copied(kind, tmp_path, **files):
    """A copy of a family's checkpoint with edited JSON files: file stem -> function that edits the values."""
    folder = tmp_path / "model"
    shutil.copytree(families.folder(kind), folder)
    for name, edit in files.items():
        path = folder / f"{name}.json"
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        edit(values)
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder, read_model_config(folder)


def added_token(token, **extra):
    return {
        "content": token,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": False,
        "special": False,
        **extra,
    }


def declares(token, number):
    """Edits tokenizer_config.json to declare a token that tokenizer.json lacks."""
    return lambda values: values.update(added_tokens_decoder={str(number): added_token(token)})


@pytest.mark.parametrize("file", ["tokenizer_config", "added_tokens"])
def test_token_declared_only_in_the_config_is_added_with_its_id(file, tmp_path):
    size = json.loads((families.folder("bert") / "config.json").read_text())["vocab_size"]
    edit = declares("<new>", size) if file == "tokenizer_config" else lambda values: values.update({"<new>": size})
    folder, config = copied("bert", tmp_path, **{file: edit})
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer("the <new> cat")["input_ids"][2] == size
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]


@pytest.mark.parametrize(("token", "number", "words"), [("<new>", 999, "the id 999"), ("quick", None, "other ids than its")])
def test_unusable_token_declaration_is_78(token, number, words, tmp_path, cli):
    size = json.loads((families.folder("bert") / "config.json").read_text())["vocab_size"]
    folder, config = copied("bert", tmp_path, tokenizer_config=declares(token, number or size))
    if number is None:  # occurs in ordinary text
        path = folder / "tokenizer_config.json"
        values = json.loads(path.read_text())
        values["added_tokens_decoder"][str(size)]["normalized"] = True
        path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=words):
        load_tokenizer(folder, config)
    assert cli("tokenize", folder, "a text")[0] == 78


def test_special_tokens_missing_in_the_file_are_none(tmp_path):
    def without_mask(values):
        values["model"]["vocab"]["[OTHER]"] = values["model"]["vocab"].pop("[MASK]")
        values["added_tokens"] = [one for one in values["added_tokens"] if one["content"] != "[MASK]"]

    folder, config = copied("bert", tmp_path, tokenizer=without_mask)
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer.mask_token is None and len(tokenizer) == config.vocab_size
    with pytest.raises(ConfigError, match="has no mask token"):
        workflow.infer(workflow.load(str(folder), head="fill"), ["a [MASK]"])


def test_special_tokens_of_the_vocabulary_are_not_split(tmp_path):
    """ByteLevelBPETokenizer and BertWordPieceTokenizer of the tokenizers library save no added tokens."""
    folder, config = copied("bert", tmp_path, tokenizer=lambda values: values.update(added_tokens=[]))
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer("the [MASK] cat")["input_ids"][2] == tokenizer.mask_token_id
    assert tokenizer.decode(tokenizer("the cat")["input_ids"], skip_special_tokens=True) == "the cat"
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]


@pytest.mark.parametrize("name", ["BertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", "NoSuchTokenizer", None])
def test_every_tokenizer_class_uses_the_file(name, tmp_path):
    from transformers import AutoTokenizer

    folder, config = copied("bert", tmp_path, tokenizer_config=lambda values: values.update(tokenizer_class=name))
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]
    assert tokenizer.mask_token == "[MASK]" and tokenizer("a cat", "a dog")["token_type_ids"] == [0] * 4 + [1] * 3
    save_tokenizer(tokenizer, folder)
    assert "token_type_ids" in AutoTokenizer.from_pretrained(folder)("a text")


def case_rows(count=64):
    """Rows whose label depends on the case of a word, which a lower-casing tokenizer cannot distinguish."""
    words = ("the", "THE")
    return [
        {"text": f"{words[i % 2]} {families.THINGS[i // 2 % 8]} {families.COLOURS[i // 16]}", "label": "ab"[i % 2]}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    """(run, rows, base folder) of a cased model whose tokenizer class lower-cases by default."""
    folder_of_runs = tmp_path_factory.mktemp("cased")
    folder = odd_folder("bert keeps case", folder_of_runs / "model")
    rows = case_rows()
    file = families.write_jsonl(folder_of_runs / "rows.jsonl", rows)
    config = {"train": str(file), "validation": str(file), "allow_leak": True, "lr": 3e-3, "batch_size": 8, "epochs": 5}
    config |= {"schedule": "constant", "warmup": 0, "patience": 0, "eval_steps": 1000}
    feature = workflow.finetune(str(folder), config=config, head="classify", out=folder_of_runs / "run")
    assert feature.metrics["validation"]["accuracy"] == 1.0
    return folder_of_runs / "run", rows, folder


def answers_as_trained(model, rows, folder):
    answers = workflow.infer(workflow.load(str(model)), [row["text"] for row in rows])
    [tokens] = workflow.tokenize(str(model), ["THE cat"])
    return [answer["label"] for answer in answers] == [row["label"] for row in rows] and tokens.ids == file_ids(
        folder, "THE cat"
    )


def test_cased_model_keeps_case_in_run_and_model(cased):
    from transformers import AutoTokenizer

    run, rows, folder = cased
    assert answers_as_trained(run, rows, folder) and answers_as_trained(run / "model", rows, folder)
    for model in (run / "base", run / "model"):
        assert AutoTokenizer.from_pretrained(model)("THE cat")["input_ids"] == file_ids(folder, "THE cat")


@pytest.mark.slow
def test_cased_model_keeps_case_in_its_export(cased, tmp_path):
    from transformers import AutoTokenizer

    run, rows, folder = cased
    workflow.export(str(run), out=tmp_path / "export")
    assert answers_as_trained(tmp_path / "export", rows, folder)
    assert AutoTokenizer.from_pretrained(tmp_path / "export")("THE cat")["input_ids"] == file_ids(folder, "THE cat")
