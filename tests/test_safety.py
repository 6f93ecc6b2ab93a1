"""Hostile and damaged model folders: refused before anything of them is executed."""

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import one_line
from hftool.errors import DataError, HftoolError, InputMissing, Refused
from hftool.models import HeadConfig, load_model
from hftool.models.safety import check_folder, check_hash, check_safetensors
from hftool.storage.checksums import sha256

HEAD_CONFIG = HeadConfig(head="classify", labels=("a", "b"))


class Evil:
    """Leaves a canary behind when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (os.mkdir, (self.canary,))


@pytest.fixture
def folder(tiny_bert, tmp_path):
    """A copy of the tiny BERT to make hostile."""
    return shutil.copytree(tiny_bert, tmp_path / "model")


def load(folder):
    return load_model(folder, "AutoModelForSequenceClassification", head_config=HEAD_CONFIG, new_head=True)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def nested(depth):
    return '{"a":' * depth + "1" + "}" * depth


def write_safetensors(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def tensor(begin, end, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


# -- what is fine -----------------------------------------------------------------------------------------------------


def test_a_plain_folder_passes(folder):
    check_folder(folder)
    (folder / "me").symlink_to(".")  # a loop of folders inside the folder is harmless
    check_folder(folder)


def test_safetensors_headers_of_any_length_are_accepted(tmp_path):
    """A header of 128 (mod 256) bytes begins with 0x80, as a pickle does: one file in 32."""
    seen = set()
    for extra in range(0, 300, 8):
        path = tmp_path / f"{extra}.safetensors"
        save_file({"a": torch.zeros(2)}, path, metadata={"x": "y" * extra})
        seen.add(path.read_bytes()[0])
        check_safetensors(path)
    assert 0x80 in seen


def test_links_of_a_hub_cache_lead_to_its_blobs(tiny_bert, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / ("0" * 40), tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True), blobs.mkdir()
    for path in tiny_bert.iterdir():
        shutil.copy(path, blobs / f"hash-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/hash-{path.name}")
    check_folder(snapshot)
    (tmp_path / "secret").write_text("x")
    (snapshot / "extra.json").symlink_to("../../../secret")
    with pytest.raises(Refused, match=r"extra.json' is a link out of its folder"):
        check_folder(snapshot)


# -- what is missing --------------------------------------------------------------------------------------------------


def test_no_model_is_66(tmp_path):
    with pytest.raises(InputMissing, match=r"is no model folder: it has no config.json"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputMissing, match=r"has a config.json but no \*.safetensors"):
        check_folder(tmp_path)


# -- pickles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt"])
def test_pickle_weights_alone_are_77_with_a_hint(folder, tmp_path, cli, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Evil(tmp_path / "canary")))
    code, out, err = cli("classify", folder, "a warm film")
    assert (code, out) == (77, "")
    line = one_line(err)
    assert line.startswith(
        f"hftool: '{folder}' has its weights only as a pickle ('{name}'), which can run code. Take the Hub's"
    )
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_another_name_is_77(folder, tmp_path, protocol):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil(tmp_path / "canary"), protocol=protocol) + b"." * 99)
    with pytest.raises(Refused, match="is called safetensors but is a pickle or an archive"):
        load(folder)
    assert not (tmp_path / "canary").exists()


def test_an_archive_under_another_name_is_77(folder):
    torch.save({"a": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(Refused, match="is called safetensors but is a pickle or an archive"):
        load(folder)
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(Refused, match="is called safetensors but is a pickle or an archive"):
        load(folder)


@pytest.mark.parametrize("name", ["evil.bin", "../model/model.safetensors", "/etc/x.safetensors", "a\\b.safetensors"])
def test_an_index_that_names_anything_else_is_77(folder, name):
    """transformers reads a shard that is not called safetensors with torch.load."""
    os.rename(folder / "model.safetensors", folder / "part.safetensors")
    torch.save(load_file(folder / "part.safetensors"), folder / "evil.bin")
    keys = list(load_file(folder / "part.safetensors"))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(keys, name)}))
    with pytest.raises(Refused, match="which is no safetensors file of its folder"):
        load(folder)
    assert (folder / "model.safetensors.index.json").is_file()


def test_shards_that_are_there_load_and_others_are_65(folder):
    os.rename(folder / "model.safetensors", folder / "part.safetensors")
    keys = list(load_file(folder / "part.safetensors"))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(keys, "part.safetensors")}))
    assert load(folder).new_weights == ("classifier.bias", "classifier.weight")
    index.write_text(json.dumps({"weight_map": {**dict.fromkeys(keys, "part.safetensors"), "x": "gone.safetensors"}}))
    with pytest.raises(DataError, match=r"names 'gone.safetensors', which is missing. Copy all shards"):
        load(folder)
    index.write_text('{"metadata": {}}')
    with pytest.raises(DataError, match="it has no weight_map"):
        load(folder)


def test_an_adapter_as_a_pickle_is_77(folder, tmp_path):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "canary")))
    with pytest.raises(Refused, match=r"an adapter without adapter_model.safetensors"):
        load(folder)
    assert not (tmp_path / "canary").exists()


# -- hostile keys -----------------------------------------------------------------------------------------------------

HOSTILE = {
    "auto_map": {"AutoModel": "evil.Model"},
    "trust_remote_code": True,
    "_attn_implementation_internal": "evil/kernel",
    "_attn_implementation": "evil/kernel",
    "_experts_implementation_internal": "x",
    "_anything_internal": 1,
    "custom_pipelines": {},
    "custom_generate": "x",
    "attn_implementation": "evil/kernel:function",
    "transformers_weights": "adapter_model.bin",
}


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_are_77_at_any_depth(folder, file, key):
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    whole = (folder / file).read_text()
    for values in ({key: HOSTILE[key]}, {"text_config": {"deeper": [1, {"x": [{key: HOSTILE[key]}]}]}}):
        (folder / file).write_text(whole)
        change(folder / file, **values)
        with pytest.raises(Refused) as caught:
            load(folder)
        assert caught.value.code == 77
        assert str(caught.value) == (
            f"'{folder / file}' has the key '{key}', which can make a library run foreign code. "
            "Remove the key if you trust its author"
        )


def test_an_implementation_for_a_part_is_looked_at_too(folder):
    change(folder / "config.json", attn_implementation={"": "sdpa", "text_config": "evil/kernel"})
    with pytest.raises(Refused, match="'attn_implementation'"):
        check_folder(folder)


def test_an_attention_that_transformers_has_is_no_danger(folder):
    change(folder / "config.json", attn_implementation="eager", _name_or_path="a/b", _commit_hash="0" * 40)
    assert load(folder).model.config._attn_implementation == "eager"


@pytest.mark.parametrize("depth", [65, 200, 500, 700, 900, 1000, 10_000])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_deep_nesting_is_65_and_no_crash(folder, file, depth):
    text = (folder / file).read_text().rstrip()
    (folder / file).write_text(f'{text[:-1]}, "x": {nested(depth)}}}')
    with pytest.raises(DataError, match=r"damaged: (nested deeper than 64 levels|not JSON)"):
        load(folder)


def test_deep_nesting_of_other_files(folder):
    (folder / "hftool.json").write_text(nested(10_000))
    from hftool.models import read_head_config

    with pytest.raises(InputMissing, match=r"hftool.json' cannot be read"):
        read_head_config(folder)
    (folder / "hftool.json").unlink()
    header = nested(10_000).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DataError, match=r"its header is not readable \(RecursionError\)"):
        load(folder)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"a": 1', "\x00"])
def test_malformed_config_is_65(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match="is damaged: not"):
        check_folder(folder)


def test_a_config_of_a_hundred_megabytes_is_not_read(folder):
    with open(folder / "config.json", "r+b") as handle:
        handle.truncate(100_000_000)
    with pytest.raises(DataError, match="100000000 bytes are no config"):
        check_folder(folder)


# -- links ------------------------------------------------------------------------------------------------------------


def test_links_out_of_the_folder_are_77(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("x")
    for target in (tmp_path / "outside" / "secret.txt", tmp_path / "outside", "../outside/secret.txt", "/etc/passwd"):
        (folder / "extra.txt").symlink_to(target)
        with pytest.raises(Refused, match=r"extra.txt' is a link out of its folder. Copy the file itself"):
            check_folder(folder)
        (folder / "extra.txt").unlink()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(Refused, match="is a link out of its folder"):
        check_folder(folder)


def test_links_in_a_circle_are_77(folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(Refused, match="is a link that leads nowhere"):
        check_folder(folder)


# -- damaged weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 4, 8, 100, -1, -1000])
def test_a_truncated_file_is_65(folder, cli, left):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:left])
    code, out, err = cli("info", folder)
    assert (code, out) == (65, "")
    assert one_line(err).startswith(f"hftool: '{folder / 'model.safetensors'}' is damaged: ")


@pytest.mark.parametrize("claim", [0, 2**63, 2**64 - 1, 10**9, 99])
def test_a_header_that_claims_too_much_is_65(folder, claim):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", claim) + b"{}" + b" " * 90)
    with pytest.raises(DataError, match=rf"its header claims {claim} bytes of 100"):
        load(folder)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": tensor(8, 16)}, 16),  # a hole at the beginning
        ({"a": tensor(0, 8), "b": tensor(12, 20)}, 20),  # a hole between
        ({"a": tensor(0, 8), "b": tensor(4, 12)}, 12),  # an overlap
        ({"a": tensor(0, 8)}, 99),  # bytes behind the end, where a second format could hide
        ({"a": tensor(0, 8)}, 4),
        ({"a": tensor(-8, 8)}, 8),
        ({"a": tensor(0, 8, shape=(200,))}, 8),
        ({"a": tensor(0, 8, shape=(2**62, 4))}, 8),
        ({"a": {"dtype": "F32"}}, 8),
        ({"a": 3}, 8),
        ({"a": tensor("x", "y")}, 8),
        ([], 8),
        ({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}, 8),
    ],
)
def test_inconsistent_header_is_65(folder, header, size):
    write_safetensors(folder / "model.safetensors", header, b"\0" * size)
    with pytest.raises(DataError) as caught:
        load(folder)
    assert caught.value.code == 65


def test_fifos_and_folders_as_weights_are_refused(folder):
    os.mkfifo(folder / "more.safetensors")
    with pytest.raises(Refused, match="is not a plain file"):
        check_folder(folder)
    (folder / "more.safetensors").unlink()
    (folder / "more.safetensors").mkdir()
    with pytest.raises(DataError, match="is damaged: not a file"):
        check_folder(folder)


# -- hashes -----------------------------------------------------------------------------------------------------------


def test_a_hash_that_is_not_the_registered_one_is_77(folder):
    path = folder / "model.safetensors"
    check_hash(path, sha256(path))
    with pytest.raises(Refused, match=r"has the SHA-256 [0-9a-f]{16}\.\.\., not the 0{16}\.\.\. that is registered"):
        check_hash(path, "0" * 64)


# -- nothing runs -----------------------------------------------------------------------------------------------------

WATCHED = (
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
)
seen: list[str] = []
watching = False


def hook(event, arguments):
    if watching and (event in WATCHED or (event in ("exec", "import") and "evil" in repr(arguments))):
        seen.append(f"{event} {arguments!r}"[:200])


def test_nothing_of_a_hostile_folder_runs_and_no_socket_opens(tiny_bert, tmp_path):
    """Every trick at once and each alone, watched by an audit hook; the canary tells of code that ran all the same."""
    global watching
    canary = tmp_path / "canary"
    load(tiny_bert)  # so that all lazy imports are done
    sys.addaudithook(hook)
    watching = True
    pickle.loads(pickle.dumps(Evil(tmp_path / "bites")))
    watching = False
    assert seen and (tmp_path / "bites").exists(), "the watch itself does not bite"
    seen.clear()
    code = f"open({str(canary)!r}, 'w')\n"
    for number, key in enumerate([*HOSTILE, None]):
        folder = shutil.copytree(tiny_bert, tmp_path / f"evil-{number}")
        for name in (
            "evil.py",
            "modeling_evil.py",
            "configuration_evil.py",
            "tokenization_evil.py",
            "__init__.py",
            "conftest.py",
        ):
            (folder / name).write_text(code)
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(canary)))
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(canary)))
        (folder / "training_args.bin").write_bytes(pickle.dumps(Evil(canary)))
        if key:
            change(folder / "config.json", **{key: HOSTILE[key]})
        watching = True
        try:
            load(folder)
            assert key is None
        except HftoolError as error:
            assert error.code == 77 and key
        finally:
            watching = False
    assert seen == [] and not canary.exists()
