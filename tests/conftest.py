"""Shared fixtures: tiny checkpoints and runs, small files, and the command line as a function."""

import os
import tempfile

os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hftool-tests-")  # before any library reads it
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("HFTOOL_NO_FALLBACK", None)


import pytest

from support.ordering import longest_first
from support.shared_folders import share_in, shared_folder

SENTENCES = {
    "positive": ["a warm funny film", "a joy to watch", "bright and tender", "the cast is a delight", "i loved every minute"],
    "negative": ["a cold dull film", "a chore to watch", "flat and empty", "the cast is a disaster", "i hated every minute"],
}
WORDS = sorted({word for texts in SENTENCES.values() for text in texts for word in text.split()})

OFFLINE_VARIABLES = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")}


@pytest.fixture(autouse=True)
def without_offline_variables():
    """After each test these variables are as at the start: --offline sets them for its process, which is that of the tests."""
    yield
    for name, value in OFFLINE_VARIABLES.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def pytest_configure(config):
    """Keep the order of `pytest_collection_modifyitems` with pytest-xdist."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def _shared_folders(tmp_path_factory):
    """They lie in the folder of this run's temporary files; with pytest-xdist in that of all its processes."""
    folder = tmp_path_factory.getbasetemp()
    share_in(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


def film_rows(count):
    """`count` rows of opinion, both labels alike, none twice."""
    rows = []
    for i in range(count):
        label = ("negative", "positive")[i % 2]
        rows.append({"sentence": f"{SENTENCES[label][i // 2 % 5]} number {i}", "label": str(i % 2)})
    return rows


def write_tsv(path, rows):
    """Rows as a file, tab separated with a header."""
    columns = list(rows[0])
    lines = ["\t".join(columns), *("\t".join(str(row[c]) for c in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def word_pieces(texts):
    """A BERT tokenizer that knows the words and the characters of these texts.

    It is listed and not trained: training WordPiece breaks ties by chance, so that each process would learn something else.
    """
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text in texts for word in text.split()})
    letters = sorted(set("".join(words)))
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A folder with a BERT of two layers, weights drawn from a seed and a real tokenizer: loads in milliseconds."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "bert"
    texts = [text for group in SENTENCES.values() for text in group] + [
        "number 0 1 2 3 4 5 6 7 8 9",
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    tokenizer = word_pieces(texts)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def film_files(tmp_path):
    """train.tsv (64 rows), dev.tsv (16) in their own folder."""
    rows = film_rows(80)
    write_tsv(tmp_path / "train.tsv", rows[:64])
    write_tsv(tmp_path / "dev.tsv", rows[64:])
    return tmp_path


@pytest.fixture(scope="session")
def tiny_run(tiny_bert):
    """A finished run of the tiny BERT, two epochs on 64 rows: what verbs on a run are tested with. Do not change it."""

    def make(folder):
        from hftool import workflow

        rows = film_rows(80)
        files = {"train": write_tsv(folder / "train.tsv", rows[:64]), "validation": write_tsv(folder / "dev.tsv", rows[64:])}
        knobs = {**{split: str(path) for split, path in files.items()}, "epochs": 2, "batch_size": 16, "lr": 1e-3}
        workflow.finetune(str(tiny_bert), "sst2", config=knobs, out=folder / "run", offline=True)

    return shared_folder("tiny", make) / "run"


@pytest.fixture(scope="session")
def tiny_export(tiny_run):
    """The folder of the tiny run's export in int8. Copy it before you change it."""

    def make(folder):
        from hftool import workflow

        workflow.export(str(tiny_run), out=folder / "int8", quantize="int8", offline=True)

    return shared_folder("exported", make) / "int8"


@pytest.fixture
def cli(capfd, monkeypatch, tmp_path):
    """The command line in this process, in an empty folder: cli("classify", ...) -> (exit code, stdout, stderr)."""
    from hftool.cli.app import main

    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HFTOOL_LOCK"):  # --offline sets them for its process, which is ours
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def call(*words, stdin=""):
        import io

        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capfd.readouterr()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def one_line(text):
    """The text without its line end, after checking that it is one line and no traceback."""
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert "Traceback" not in text
    return text.rstrip("\n")
