"""Loading a model folder compares it with SHA256SUMS, and hashes each file only once."""

import json
import os
import shutil
import time

import pytest
from huggingface_hub import constants

from hftool import workflow
from hftool.errors import DataError
from hftool.models import sha256sums
from hftool.models.sha256sums import SUMS, check_loaded, write_checksums
from support import exports

HOUR = 3600 * 10**9


@pytest.fixture
def saved(tiny_run, tmp_path):
    return shutil.copytree(tiny_run / "model", tmp_path / "saved")


@pytest.fixture
def hash_cache(tmp_path, monkeypatch):
    """A separate hash cache, and files last modified an hour ago."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    real = time.time_ns
    monkeypatch.setattr(sha256sums.time, "time_ns", lambda: real() + HOUR)
    return tmp_path / "home" / "hftool" / "hashes.json"


@pytest.fixture
def hashed(monkeypatch):
    """Names of the hashed files, in order."""
    names, real = [], sha256sums.sha256
    monkeypatch.setattr(sha256sums, "sha256", lambda path: names.append(path.name) or real(path))
    return names


def flip(path, at=-5):
    body = bytearray(path.read_bytes())
    body[at] ^= 64
    path.write_bytes(body)


@pytest.mark.parametrize("verb", [("classify", "a warm film"), ("predict", "rows"), ("evaluate",), ("export", "--out", "onnx")])
def test_changed_weights_are_an_error_in_every_verb(verb, saved, cli, film_files):
    flip(saved / "model.safetensors")
    words = [str(film_files / "dev.tsv") if word == "rows" else word for word in verb[1:]]
    code, out, err = cli(verb[0], saved, *words, *([film_files / "dev.tsv"] if verb[0] == "evaluate" else []))
    assert (code, out) == (65, "")
    message = f"'{saved}' differs from its checksums: model.safetensors changed. "
    assert message in err and err.endswith("if the change is meant, remove its SHA256SUMS\n")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("config.json", '"hidden_act": "gelu"', '"hidden_act": "relu"'),
        ("hftool.json", '"negative"', '"Negative"'),
        ("tokenizer.json", '"lowercase": true', '"lowercase": false'),
        ("tokenizer_config.json", '"', ' "'),
    ],
)
def test_files_that_answers_depend_on_are_compared(name, old, new, saved):
    text = (saved / name).read_text()
    assert old in text
    (saved / name).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=f"differs from its checksums: {name} changed"):
        workflow.load(str(saved))
    (saved / SUMS).unlink()
    assert workflow.load(str(saved)).new_weights == ()


@pytest.mark.parametrize("name", ["config.json", "hftool.json", "tokenizer.json", "tokenizer_config.json"])
def test_verbs_without_weights_do_not_hash_them(name, saved, hashed):
    with open(saved / name, "a") as file:
        file.write(" ")
    for verb in (workflow.info, lambda model: workflow.tokenize(model, ["a film"])):
        with pytest.raises(DataError, match=f"differs from its checksums: {name} changed"):
            verb(str(saved))
    assert "model.safetensors" not in hashed


@pytest.mark.parametrize("name", ["config.json", "hftool.json", "tokenizer.json", "tokenizer_config.json"])
def test_settings_of_an_export_are_compared(name, tmp_path):
    folder = shutil.copytree(exports.exported("bert", "classify")[0], tmp_path / "export")
    with open(folder / name, "a") as file:
        file.write(" ")
    with pytest.raises(DataError, match=f"differs from its checksums: {name} changed"):
        workflow.load(str(folder))


@pytest.mark.parametrize("name", ["README.md", "notes.txt", ".gitattributes"])
def test_documentation_files_may_change(name, saved):
    (saved / name).write_text("edited")
    assert workflow.load(str(saved)).new_weights == ()


@pytest.mark.parametrize("text", ["", "no hash\n", "0" * 64 + "  ../other.json\n", "0" * 64 + "  gone.safetensors\n", "\0\n"])
def test_foreign_sha256sums_files_are_ignored(text, saved):
    (saved / SUMS).write_text(text)
    check_loaded(saved)


def test_files_in_subfolders_are_compared(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    write_checksums(tmp_path)
    check_loaded(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(DataError, match=r"1_Pooling/config\.json changed"):
        check_loaded(tmp_path)


def test_each_file_is_hashed_once(saved, hash_cache, hashed):
    check_loaded(saved)
    assert "model.safetensors" in hashed and hash_cache.is_file()
    hashed.clear()
    check_loaded(saved)
    assert hashed == []
    state = (saved / "model.safetensors").stat()
    flip(saved / "model.safetensors")
    os.utime(saved / "model.safetensors", ns=(state.st_atime_ns, state.st_mtime_ns))  # like `touch -r`
    with pytest.raises(DataError, match=r"model\.safetensors changed"):
        check_loaded(saved)
    assert hashed == ["model.safetensors"]


def test_files_modified_this_second_are_not_cached(saved, tmp_path, monkeypatch, hashed):
    """A later change could have the same modification time."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    check_loaded(saved)
    assert hashed and not (tmp_path / "home" / "hftool").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"/x": 1}', "\0", "[" * 100_000])
def test_damaged_cache_is_replaced(text, saved, hash_cache, hashed):
    hash_cache.parent.mkdir(parents=True)
    hash_cache.write_text(text)
    check_loaded(saved)
    assert hashed and str(saved / "model.safetensors") in json.loads(hash_cache.read_text())


def test_without_a_writable_cache_all_files_are_hashed(saved, tmp_path, monkeypatch, hashed):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "file"))
    check_loaded(saved)
    assert "model.safetensors" in hashed


def test_cache_size_is_bounded(tmp_path, hash_cache, monkeypatch):
    monkeypatch.setattr(sha256sums, "MOST_HASHES", 3)
    for name in "abcde":
        (tmp_path / name).write_text(name)
        sha256sums.cached_hashes([tmp_path / name])
    assert [path.rpartition("/")[2] for path in json.loads(hash_cache.read_text())] == ["c", "d", "e"]
