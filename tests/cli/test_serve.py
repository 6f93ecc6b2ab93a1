"""hftool serve on the command line: what is checked, in which order, before a model is loaded."""

import socket
import sys
import threading
import time

import pytest
from conftest import one_line

from hftool.errors import DataError
from hftool.workflow.serve import named


@pytest.fixture
def no_models(monkeypatch):
    """Loading a model would be an error of the test."""

    def load(*words, **more):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(sys.modules["hftool.workflow.serve"], "load_place", load)  # the name is that of the function, too


@pytest.mark.parametrize(
    ("words", "code", "said"),
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
def test_errors_are_one_line(cli, no_models, words, code, said):
    began = time.monotonic()
    made, out, err = cli("serve", *words)
    assert (made, out) == (code, "") and said.lower() in one_line(err).lower()
    assert time.monotonic() - began < 5


def test_models_are_loaded_in_a_thread_that_ends(cli, monkeypatch):
    """What the main thread computes in parallel slows every batch of the server: see `hftool.engines.apart`."""
    seen = []

    def load(*words, **more):
        seen.append(threading.current_thread())
        raise DataError("enough")

    monkeypatch.setattr(sys.modules["hftool.workflow.serve"], "load_place", load)
    code, _, err = cli("serve", "bert-mini", "--port", 0)
    assert (code, "enough" in one_line(err)) == (65, True)
    assert seen[0] is not threading.main_thread() and not seen[0].is_alive()


def test_a_taken_port_is_said_before_a_model_is_looked_for(cli, no_models):
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


def test_without_the_extra_the_way_to_it_is_named(cli, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else real(name, *more))
    code, _, err = cli("serve", "bert-mini")
    assert code == 2 and "pip install 'hftool-recipes[serve]'" in one_line(err)


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
