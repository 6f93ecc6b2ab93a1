"""Whatever stands in tokenizer.json, its ids are the model's, in every verb; and folders that have other files."""

import json
import shutil

import pytest
from tokenizers import Tokenizer

from hftool import workflow
from hftool.data.readers.tables import Row
from hftool.errors import ConfigError
from hftool.heads import get_head
from hftool.models import HeadConfig, load_tokenizer, read_config
from hftool.models.tokenizer import save_tokenizer
from hftool.registry.models import FAMILIES
from support import families
from support.odd_tokenizers import ODD, TEXTS, odd_folder

HEADS = {family.name: family.heads for family in FAMILIES} | {"electra": ("classify",)}


def file_ids(folder, *texts, **options):
    """What the tokenizers library makes of the file by itself."""
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    return own.encode(*texts, **options).ids


def odd(name, tmp_path):
    folder = odd_folder(name, tmp_path / "model")
    return folder, read_config(folder)


def features(head, tokenizer, config, rows):
    labels = ("a", "b") if head in ("classify", "tag") else ()
    head_config = HeadConfig(head=head, labels=labels, max_length=60, max_new_tokens=8 if head == "generate" else 100)
    return get_head(tokenizer, head_config, config).encode(rows)


@pytest.mark.parametrize("name", ODD)
def test_the_ids_are_those_of_the_file(name, tmp_path):
    folder, config = odd(name, tmp_path)
    tokenizer = load_tokenizer(folder, config)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == file_ids(folder, text), text
        assert tokenizer(text, TEXTS[0])["input_ids"] == file_ids(folder, text, TEXTS[0])
    ids = file_ids(folder, TEXTS[1])
    shown = ids[:-1] if name == "gpt2 ends itself" else ids  # as the head encodes: a prompt has no end token
    assert workflow.tokenize(str(folder), TEXTS[:2])[1].ids == shown


@pytest.mark.parametrize("name", ODD)
def test_training_and_answers_take_the_ids_of_the_file(name, tmp_path):
    folder, config = odd(name, tmp_path)
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
        [made] = features(head, tokenizer, config, [rows[head]])
        ids = made.input_ids.tolist()
        expected = file_ids(folder, " ".join(text.split())) if head == "tag" else bare if head == "generate" else whole
        assert ids[-len(expected) :] == expected, head
        if head == "text2text":
            assert made.target.tolist() == file_ids(folder, other)


@pytest.mark.parametrize("name", ODD)
def test_what_is_saved_is_read_alike_here_and_by_transformers(name, tmp_path):
    from transformers import AutoTokenizer

    folder, config = odd(name, tmp_path)
    out = tmp_path / "saved"
    out.mkdir()
    config.save_pretrained(out)
    tokenizer = load_tokenizer(folder, config)
    save_tokenizer(tokenizer, out)
    again = load_tokenizer(out, config)
    for one in (again, AutoTokenizer.from_pretrained(out)):
        made = one(TEXTS)
        assert made["input_ids"] == [file_ids(folder, text) for text in TEXTS]
        assert list(made) == list(tokenizer(TEXTS))
        assert one.mask_token == tokenizer.mask_token and one.eos_token == tokenizer.eos_token
        assert one.all_special_ids == tokenizer.all_special_ids and one.model_max_length == 64


@pytest.mark.parametrize("kind", families.KINDS)
def test_a_tokenizer_that_its_class_makes_keeps_its_class(kind, tmp_path):
    config = read_config(families.folder(kind))
    config.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(families.folder(kind), config)
    save_tokenizer(tokenizer, tmp_path)
    before, after = ((folder / "tokenizer_config.json").read_text() for folder in (families.folder(kind), tmp_path))
    assert json.loads(before)["tokenizer_class"] == json.loads(after)["tokenizer_class"] == type(tokenizer).__name__


def copied(kind, tmp_path, **files):
    """A copy of a family's checkpoint with these JSON files changed: name without its ending -> function of the values."""
    folder = tmp_path / "model"
    shutil.copytree(families.folder(kind), folder)
    for name, change in files.items():
        path = folder / f"{name}.json"
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        change(values)
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder, read_config(folder)


def flags(token, **more):
    return {
        "content": token,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": False,
        "special": False,
        **more,
    }


def declares(token, number):
    """tokenizer_config.json with a token that tokenizer.json does not have."""
    return lambda values: values.update(added_tokens_decoder={str(number): flags(token)})


@pytest.mark.parametrize("file", ["tokenizer_config", "added_tokens"])
def test_a_token_that_only_the_config_declares_is_added_under_its_id(file, tmp_path):
    size = json.loads((families.folder("bert") / "config.json").read_text())["vocab_size"]
    change = declares("<new>", size) if file == "tokenizer_config" else lambda values: values.update({"<new>": size})
    folder, config = copied("bert", tmp_path, **{file: change})
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer("the <new> cat")["input_ids"][2] == size
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]


@pytest.mark.parametrize(("token", "number", "words"), [("<new>", 999, "the id 999"), ("quick", None, "other ids than its")])
def test_a_declared_token_that_cannot_be_had_is_78(token, number, words, tmp_path, cli):
    size = json.loads((families.folder("bert") / "config.json").read_text())["vocab_size"]
    folder, config = copied("bert", tmp_path, tokenizer_config=declares(token, number or size))
    if number is None:  # a piece of an ordinary text
        path = folder / "tokenizer_config.json"
        values = json.loads(path.read_text())
        values["added_tokens_decoder"][str(size)]["normalized"] = True
        path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=words):
        load_tokenizer(folder, config)
    assert cli("tokenize", folder, "a text")[0] == 78


def test_special_tokens_that_the_file_does_not_have_are_none(tmp_path):
    def without_mask(values):
        values["model"]["vocab"]["[OTHER]"] = values["model"]["vocab"].pop("[MASK]")
        values["added_tokens"] = [one for one in values["added_tokens"] if one["content"] != "[MASK]"]

    folder, config = copied("bert", tmp_path, tokenizer=without_mask)
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer.mask_token is None and len(tokenizer) == config.vocab_size
    with pytest.raises(ConfigError, match="has no mask token"):
        workflow.infer(workflow.load(str(folder), head="fill"), ["a [MASK]"])


def test_special_tokens_that_are_words_of_the_file_stay_whole(tmp_path):
    """ByteLevelBPETokenizer and BertWordPieceTokenizer of the tokenizers library save files without added tokens."""
    folder, config = copied("bert", tmp_path, tokenizer=lambda values: values.update(added_tokens=[]))
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer("the [MASK] cat")["input_ids"][2] == tokenizer.mask_token_id
    assert tokenizer.decode(tokenizer("the cat")["input_ids"], skip_special_tokens=True) == "the cat"
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]


@pytest.mark.parametrize("name", ["BertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", "NoSuchTokenizer", None])
def test_any_class_that_the_config_names_reads_the_file(name, tmp_path):
    from transformers import AutoTokenizer

    folder, config = copied("bert", tmp_path, tokenizer_config=lambda values: values.update(tokenizer_class=name))
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer(TEXTS)["input_ids"] == [file_ids(folder, text) for text in TEXTS]
    assert tokenizer.mask_token == "[MASK]" and tokenizer("a cat", "a dog")["token_type_ids"] == [0] * 4 + [1] * 3
    save_tokenizer(tokenizer, folder)
    assert "token_type_ids" in AutoTokenizer.from_pretrained(folder)("a text")


def case_rows(count=64):
    """A label that the case of a word decides: nothing for a tokenizer that lower-cases."""
    words = ("the", "THE")
    return [
        {"text": f"{words[i % 2]} {families.THINGS[i // 2 % 8]} {families.COLOURS[i // 16]}", "label": "ab"[i % 2]}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    """A run of a cased model under a class that lower-cases, whose labels are a matter of case; its rows; its first folder."""
    home = tmp_path_factory.mktemp("cased")
    folder = odd_folder("bert keeps case", home / "model")
    rows = case_rows()
    file = families.write_jsonl(home / "rows.jsonl", rows)
    config = {"train": str(file), "validation": str(file), "allow_leak": True, "lr": 3e-3, "batch_size": 8, "epochs": 5}
    config |= {"schedule": "constant", "warmup": 0, "patience": 0, "eval_steps": 1000}
    made = workflow.finetune(str(folder), config=config, head="classify", out=home / "run")
    assert made.metrics["validation"]["accuracy"] == 1.0
    return home / "run", rows, folder


def answers_as_trained(place, rows, folder):
    answers = workflow.infer(workflow.load(str(place)), [row["text"] for row in rows])
    [tokens] = workflow.tokenize(str(place), ["THE cat"])
    return [answer["label"] for answer in answers] == [row["label"] for row in rows] and tokens.ids == file_ids(
        folder, "THE cat"
    )


def test_a_cased_model_learns_case_and_keeps_it_in_the_run_and_its_model(cased):
    from transformers import AutoTokenizer

    run, rows, folder = cased
    assert answers_as_trained(run, rows, folder) and answers_as_trained(run / "model", rows, folder)
    for place in (run / "base", run / "model"):
        assert AutoTokenizer.from_pretrained(place)("THE cat")["input_ids"] == file_ids(folder, "THE cat")


@pytest.mark.slow
def test_a_cased_model_keeps_case_in_its_export(cased, tmp_path):
    from transformers import AutoTokenizer

    run, rows, folder = cased
    workflow.export(str(run), out=tmp_path / "export")
    assert answers_as_trained(tmp_path / "export", rows, folder)
    assert AutoTokenizer.from_pretrained(tmp_path / "export")("THE cat")["input_ids"] == file_ids(folder, "THE cat")
