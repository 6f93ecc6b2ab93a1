"""`hftool serve` on the command line: checks before a model is loaded, its output, its log."""

import json
import logging
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import one_line
from hftool.errors import DataError
from hftool.workflow._serve import named
from support.matrices import each_value


@pytest.fixture
def no_models(monkeypatch):
    """Loading a model would be an error of the test."""

    def load(*words, **more):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(sys.modules["hftool.workflow._serve"], "load_resolved", load)  # the name is that of the function, too


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Missing argument"),
        (["nope"], 2, "nope"),
        (["./nope"], 66, "there is no folder './nope'"),
        (["bert-mini", "bert-mini"], 2, "two models are called 'bert-mini'"),
        (["a=bert-mini", "a=gpt2-mini"], 2, "two models are called 'a'"),
        (["..=bert-mini"], 2, "a model cannot be called '..'"),
        ([".hidden=bert-mini"], 2, "a model cannot be called '.hidden'"),
        (["a b=bert-mini"], 2, "'a b'"),
        (["bert-mini", "--port", "70000"], 2, "--port must be a whole number from 0 to 65535"),
        (["bert-mini", "--port", "x"], 2, "--port"),
        (["bert-mini", "--queue", "0"], 2, "--queue must be a whole number of at least 1"),
        (["bert-mini", "--timeout", "0"], 2, "timeout must be at least"),
        (["bert-mini", "--timeout", "nan"], 2, "timeout must be"),
        (["bert-mini", "--grace", "-1"], 2, "grace must be at least 0"),
        (["bert-mini", "--host", "0.0.0.0"], 2, "a key is needed"),
        (["bert-mini", "--host", "::"], 2, "a key is needed"),
        (["bert-mini", "--host", "example.org"], 2, "a key is needed"),
        (["bert-mini", "--api-key-file", "none"], 66, "the key file 'none' cannot be read"),
    ],
)
def test_errors_are_one_line(cli, no_models, words, code, message):
    began = time.monotonic()
    result, out, err = cli("serve", *words)
    assert (result, out) == (code, "") and message.lower() in one_line(err).lower()
    assert time.monotonic() - began < 5


def test_models_are_loaded_in_a_thread_that_ends(cli, monkeypatch):
    """What the main thread computes in parallel slows every batch of the server: see `hftool.workflow._serve._load`."""
    seen = []

    def load(*words, **more):
        seen.append(threading.current_thread())
        raise DataError("enough")

    monkeypatch.setattr(sys.modules["hftool.workflow._serve"], "load_resolved", load)
    code, _, err = cli("serve", "bert-mini", "--port", 0)
    assert (code, "enough" in one_line(err)) == (65, True)
    assert seen[0] is not threading.main_thread() and not seen[0].is_alive()


def test_taken_port_is_reported_before_models_are_resolved(cli, no_models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = cli("serve", "bert-mini", "--port", port)
        assert (code, f"port {port} on 127.0.0.1 is taken" in one_line(err)) == (69, True)
        code, _, err = cli("serve", "owner/not-in-any-cache", "--offline", "--port", port)
        assert code == 69 and "is taken" in err
        code, _, err = cli("serve", "bert-mini", "--port", port, "--host", "0.0.0.0")
        assert code == 2 and "a key is needed" in err


def test_a_foreign_host_with_a_key(cli, no_models, tmp_path):
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    (tmp_path / "keys").chmod(0o600)
    code, _, err = cli("serve", "bert-mini", "--host", "203.0.113.7", "--api-key-file", tmp_path / "keys", "--port", "0")
    assert code == 73 and "no address of this machine" in one_line(err)


def test_missing_extra_has_the_command_that_installs_it(cli, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else real(name, *more))
    code, _, err = cli("serve", "bert-mini")
    assert code == 2 and "pip install 'hftool-recipes[serve]'" in one_line(err)


@pytest.fixture
def ready_at_once(monkeypatch):
    """A server that ends as soon as it is ready."""
    monkeypatch.setattr("hftool.server.process.run", lambda service, listening, on_ready: on_ready())


@pytest.mark.parametrize(
    ("models", "has_keys", "more"), each_value([["bert-mini"], ["a=bert-mini", "b=gpt2-mini"]], [False, True], [[], ["-q"]])
)
def test_json_document_contains_a_working_request(cli, ready_at_once, tmp_path, models, has_keys, more):
    (tmp_path / "my keys").write_text("0123456789abcdef-secret\n")
    (tmp_path / "my keys").chmod(0o600)
    options = ["--api-key-file", tmp_path / "my keys"] if has_keys else []
    code, out, _ = cli("serve", *models, "--port", 0, "--offline", "--json", *options, *more)
    document = json.loads(one_line(out))
    assert code == 0 and list(document["models"]) == [model.partition("=")[0] for model in models]
    assert document["url"].startswith("http://127.0.0.1:") and document["key_needed"] is has_keys
    words = shlex.split(document["try"].replace("$KEY", "the key"))
    assert words[0] == "curl" and words[-1] == document["url"] + "/predict"
    assert json.loads(words[words.index("-d") + 1])["inputs"]
    assert ("Authorization: Bearer the key" in words) is has_keys and "secret" not in out
    assert ('-H "Authorization: Bearer $KEY"' in document["try"]) is has_keys


@pytest.mark.parametrize("has_keys", [False, True])
@pytest.mark.parametrize("example", ["A warm film.", "it's", {"question": "Where's Ann?", "context": "a"}, "$HOME `ls`", "好"])
def test_suggested_curl_command_works_in_a_shell(monkeypatch, capsys, has_keys, example):
    from hftool.cli.verbs.serve import _greet
    from hftool.workflow._serve import Address

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _greet(Address("http://127.0.0.1:9", {"film": "classify"}, example), has_keys=has_keys, as_json=False)
    first, line, last = capsys.readouterr().out.splitlines()
    assert first == "http://127.0.0.1:9  film (classify)" and last == "Ctrl-C ends it"
    shown = subprocess.run(
        ["sh", "-c", line.replace("curl", "printf '%s\\n'", 1)], env={"KEY": "abc"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert json.loads(shown[1]) == {"inputs": example}
    assert ("Authorization: Bearer abc" in shown) is has_keys


def test_nothing_is_printed_in_a_pipe_without_json(cli, ready_at_once):
    assert cli("serve", "bert-mini", "--port", 0, "--offline")[:2] == (0, "")


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), 65, "damaged"),
        (lambda path: path.write_bytes(b""), 65, "model.safetensors"),
        (lambda path: path.unlink(), 66, ""),
        (lambda path: path.with_name("config.json").write_text("{"), 65, "config.json"),
        (lambda path: path.with_name("config.json").unlink(), 66, ""),
        (lambda path: path.with_name("pytorch_model.bin").write_bytes(b"x") and path.unlink(), 77, ""),
    ],
)
def test_damaged_model_of_several_is_named(cli, ready_at_once, tiny_run, tmp_path, damage, code, message):
    folder = tmp_path / "broken one"
    shutil.copytree(tiny_run / "model", folder)
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    damage(folder / "model.safetensors")
    result, out, err = cli("serve", f"good={tiny_run}", f"bad={folder}", "--port", 0, "--offline")
    assert (result, out) == (code, "") and message in err
    assert "model 'bad' (" in one_line(err) and "'good'" not in err
    assert "model 'bad'" not in cli("serve", f"bad={folder}", "--port", 0, "--offline")[2]


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "my run").mkdir()
    (tmp_path / "lr=3").mkdir()
    assert named(["bert-mini", "x=gpt2-mini", "runs/my run", "owner/name@main", "lr=3", "a=runs/my run"]) == {
        "bert-mini": "bert-mini",
        "x": "gpt2-mini",
        "my-run": "runs/my run",
        "name": "owner/name@main",
        "lr-3": "lr=3",
        "a": "runs/my run",
    }


class Blocked:
    """A stderr whose pipe is full."""

    def __init__(self):
        self.free, self.lines = threading.Event(), []

    def write(self, lines):
        self.free.wait(20)
        self.lines += lines.splitlines(keepends=True)

    def flush(self):
        pass


def test_full_stderr_pipe_blocks_neither_requests_nor_the_end(monkeypatch):
    from hftool.server.http import log_writer

    blocked, log = Blocked(), logging.getLogger("hftool.serve")
    monkeypatch.setattr(sys, "stderr", blocked)
    monkeypatch.setattr(log_writer, "QUEUED_LINES", 50)
    began = time.monotonic()
    with log_writer.log_to_stderr(quiet=False):
        for i in range(1000):
            log.info("line %d", i)
    assert time.monotonic() - began < 1 + log_writer.LAST_LINES
    blocked.free.set()
    end = time.monotonic() + 5
    while len(blocked.lines) < 50 and time.monotonic() < end:
        time.sleep(0.01)
    assert blocked.lines[:50] == [f"line {i}\n" for i in range(50)]
    assert len(blocked.lines) <= 100  # the others are dropped; as many may have left the queue before it was full


@pytest.mark.parametrize("quiet", [False, True])
def test_lines_are_in_order_and_complete_at_the_end(monkeypatch, quiet):
    from hftool.server.http import log_writer

    free = Blocked()
    free.free.set()
    monkeypatch.setattr(sys, "stderr", free)
    with log_writer.log_to_stderr(quiet=quiet):
        for i in range(2000):
            logging.getLogger("hftool.serve").info('{"id": %d}', i)
        logging.getLogger("hftool.other").warning("hot %s", "pipe")
    assert free.lines[:-1] == ([] if quiet else [f'{{"id": {i}}}\n' for i in range(2000)])
    assert json.loads(free.lines[-1]) | {"time": 0} == {"time": 0, "event": "log", "level": "warning", "text": "hot pipe"}
    assert logging.getLogger("hftool").handlers == [] and logging.getLogger("hftool").propagate
