"""JSON read through a schema: the checks agree with the jsonschema library, and an error names the key."""

import json
import os
import random
import re
import socket

import jsonschema
import pytest

from hftool.errors import DataError, InputMissing, Refused
from hftool.models.export_folder import REPORT
from hftool.models.head_config import head_config_schema
from hftool.models.untrusted_sizes import CONFIG, GENERATION, TOKENIZER
from hftool.storage.checksums import sha256
from hftool.storage.json_documents import MAX_BYTES, fault_of, open_plain, read_document
from hftool.storage.run_folder import MANIFEST, METRICS
from hftool.training.checkpoint_schema import MANIFEST_SCHEMA, STATE_SCHEMA
from support.mutating import VALUES, mutated

SCHEMA = {
    "type": "object",
    "required": ("name",),
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"},
        "size": {"type": ["integer", "null"], "minimum": 1, "maximum": 10},
        "rate": {"type": "number"},
        "names": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "files": {"type": "object", "propertyNames": {"pattern": "^[a-z]"}, "additionalProperties": {"type": "integer"}},
        "mode": {"enum": ("a", None)},
        "closed": {"type": "object", "properties": {"x": {}}, "additionalProperties": False},
    },
}
GOOD = {"name": "a", "size": 3, "rate": 1.5, "names": ["x"], "files": {"f": 1}, "mode": "a", "closed": {"x": 1}}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"size": None, "mode": None, "rate": 2}, ""),
        ({"name": 5}, "'name' must be a text, not 5"),
        ({"name": ""}, "'name' must not be empty"),
        ({"name": "A1"}, "'name' cannot be \"A1\""),
        ({"size": 0}, "'size' must be from 1 to 10, not 0"),
        ({"size": True}, "'size' must be an integer or null, not true"),
        ({"size": 1.5}, "'size' must be an integer or null, not 1.5"),
        ({"size": 10**40}, f"'size' must be from 1 to 10, not {10**40}"),
        ({"rate": float("nan")}, "'rate' must be a number, not NaN"),
        ({"rate": [1]}, "'rate' must be a number, not a list of 1"),
        ({"names": ["x", ["y"]]}, "'names[1]' must be a text, not a list of 1"),
        ({"names": ["x"] * 3}, "'names' must have at most 2 items, not 3"),
        ({"files": {"f": "1"}}, "'files.f' must be an integer, not \"1\""),
        ({"files": {"1": 1}}, "'files.1' cannot be \"1\""),
        ({"mode": "b"}, '\'mode\' must be one of "a", null, not "b"'),
        ({"closed": {"y": 1}}, "unknown key 'closed.y'"),
        ({"name": "x" * 100 + "1"}, f"'name' cannot be \"{'x' * 59}..."),
    ],
)
def test_error_names_the_key_of_the_first_fault(change, fault):
    assert fault_of({**GOOD, **change}, SCHEMA) == fault


def test_required_key():
    assert fault_of({}, SCHEMA) == "it has no key 'name'"
    assert fault_of({"a": {}}, {"properties": {"a": SCHEMA}}) == "it has no key 'a.name'"


@pytest.mark.parametrize(
    "schema",
    [SCHEMA, head_config_schema(), CONFIG, TOKENIZER, GENERATION, REPORT, MANIFEST, METRICS, STATE_SCHEMA, MANIFEST_SCHEMA],
    ids=["sample", "card", "config", "tokenizer", "generation", "export", "manifest", "metrics", "state", "sealed"],
)
def test_schemas_agree_with_jsonschema(schema):
    """Except for integers in decimal notation, such as 1.0, and for NaN, which JSON does not have."""
    plain = json.loads(json.dumps(schema))
    judge = jsonschema.Draft202012Validator(plain)
    rng = random.Random(1)
    words = tuple(plain["properties"])
    fitting = 0
    for _ in range(400):
        name = rng.choice(words)
        start = GOOD if schema is SCHEMA else {key: {} for key in plain.get("required", ())}
        document = mutated({**start, **({name: rng.choice(VALUES)} if rng.random() < 0.5 else {})} or {"a": 1}, words, rng)
        text = json.dumps(document)
        if re.search(r"NaN|Infinity|e\+|\.0\b", text):
            continue
        assert (fault_of(document, schema) == "") == judge.is_valid(document), text
        fitting += judge.is_valid(document)
    assert fitting >= 3


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object but a list of 0"),
        (b"3", "not an object but 3"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": ' * 100_000, "not JSON"),
        (b'{"a": ' * 100 + b"1" + b"}" * 100, "nested deeper than 64 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_files_without_a_json_object_are_errors(tmp_path, data, fault):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match=f"a.json' is damaged: {fault}"):
        read_document(tmp_path / "a.json")


def test_too_large_or_missing_documents_are_errors(tmp_path):
    (tmp_path / "a.json").touch()
    os.truncate(tmp_path / "a.json", MAX_BYTES + 1)
    with pytest.raises(DataError, match=f"{MAX_BYTES + 1} bytes are no config"):
        read_document(tmp_path / "a.json")
    with pytest.raises(InputMissing, match="cannot be read: No such file"):
        read_document(tmp_path / "b.json")


def create_pipe(path):
    os.mkfifo(path)


def create_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket path has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


def create_link_to_device(path):
    path.symlink_to("/dev/zero")


def create_link_to_pipe(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
@pytest.mark.parametrize("create", [create_pipe, create_socket, create_link_to_device, create_link_to_pipe])
@pytest.mark.parametrize("read", [read_document, sha256, lambda path: open_plain(path).__enter__()])
def test_special_files_are_refused_without_blocking(tmp_path, create, read):
    create(tmp_path / "a.json")
    with pytest.raises(Refused, match="a.json' is not a plain file"):
        read(tmp_path / "a.json")


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
def test_file_replaced_by_a_pipe_between_stat_and_open_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.json")
    monkeypatch.setattr("hftool.storage.json_documents.check_plain", lambda path: None)
    with pytest.raises(Refused, match="is not a plain file"):
        read_document(tmp_path / "a.json")
