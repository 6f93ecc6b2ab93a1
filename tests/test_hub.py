"""hftool/hub.py against a fake Hub on loopback: downloads, completeness of the cache, network failures."""

import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _detect_agent

from hftool import hub
from hftool.errors import HftoolError, HubUnreachable, Refused, StorageError, UsageError
from hftool.models import safety
from support.fake_hub import FakeHub, Repos, fake_hub

MODEL, SHARDED, PICKLED, DATA = "ann/model", "ann/sharded", "ann/pickled", "ann/data"
COMMIT = "c0ffee" + "0" * 34
LARGE = 300_000  # bytes, so that there is something to break off


def weights(size: int) -> bytes:
    """A safetensors file that is whole: one tensor of `size` bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * size


def repositories() -> Repos:
    """Models (one file, shards, only a pickle) and a data set with two parts."""
    small = {
        "config.json": b'{"model_type": "bert"}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "README.md": b"# A model",
        ".gitattributes": b"*.bin",
    }
    pickles = {"pytorch_model.bin": b"\x80\x02.", "tf_model.h5": b"h5", "training_args.bin": b"\x80\x02."}
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    one = {**small, **pickles, "model.safetensors": weights(LARGE), "onnx/model.safetensors": weights(5)}
    return {
        ("model", MODEL): {
            "main": one,
            "v1": {**one, "README.md": b"# One"},
            COMMIT: {**one, "README.md": b"# Two"},
            "refs/pr/4": {**one, "README.md": b"# Four"},
        },
        ("model", SHARDED): {
            "main": {
                **small,
                "model.safetensors.index.json": json.dumps(index).encode(),
                "model-00001-of-00002.safetensors": weights(10),
                "model-00002-of-00002.safetensors": weights(LARGE),
            }
        },
        ("model", PICKLED): {"main": {**small, **pickles}},
        ("dataset", DATA): {
            "main": {
                "README.md": b"# Data",
                "loader.py": b"print()",
                "sst2/train.parquet": b"PAR1 a",
                "sst2/notes.pkl": b"\x80",
                "sst2/test.parquet": b"PAR1 b",
                "cola/train.csv": b"text,label\n",
            }
        },
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub, and huggingface_hub led to it and to an empty cache: it has read its variables already."""
    with fake_hub(repositories()) as running:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        lead(monkeypatch, running.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
        monkeypatch.setattr(_detect_agent, "_registry", None)  # its own question, which it asks once a process
        monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: None))  # 1 s before it tries again
        yield running
    huggingface_hub.close_session()


def lead(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Make `url` the Hub of this process."""
    huggingface_hub.close_session()
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


_watched: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event.startswith("socket."):
        _watched[-1].append(event)


sys.addaudithook(_audit)  # cannot be taken away again, so it is there once and mostly does nothing


@contextlib.contextmanager
def no_socket() -> Iterator[None]:
    """Fails if anything in this process makes, looks up or connects a socket meanwhile."""
    _watched.append([])
    try:
        yield
    finally:
        events = _watched.pop()
    assert events == []


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if the block takes longer."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def fails(kind: type[HftoolError], call: Callable[[], object]) -> str:
    """The one line that a person sees when `call` fails with this class of error."""
    with pytest.raises(HftoolError) as caught:
        call()
    assert type(caught.value) is kind
    line = str(caught.value)
    assert line.isprintable() and len(line) < 400
    return line


def names(folder: Path) -> set[str]:
    """The files of a snapshot."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def storage(tmp_path: Path, repo: str = MODEL, kind: str = "model") -> Path:
    """Where huggingface_hub keeps a repository."""
    return tmp_path / "hub" / f"{kind}s--{repo.replace('/', '--')}"


# What is fetched, and what is found again


@pytest.mark.parametrize("revision", ["", "main", "v1", "refs/pr/4", COMMIT])
def test_a_revision_is_fetched_once_and_then_used_without_a_socket(server: FakeHub, revision: str) -> None:
    assert hub.cached(MODEL, revision) is None
    fetched = hub.fetch(MODEL, revision)
    assert fetched.revision == server.revision("model", MODEL, revision or "main")
    assert fetched.folder.name == fetched.revision
    assert (fetched.folder / "README.md").read_bytes() == server.repos["model", MODEL][revision or "main"]["README.md"]
    server.requests.clear()
    with no_socket():
        assert hub.cached(MODEL, revision) == fetched
        assert hub.cached(MODEL, fetched.revision) == fetched
    assert server.requests == []


def test_revision_is_requested_once(server: FakeHub) -> None:
    assert hub.ask_revision(MODEL, "v1") == server.revision("model", MODEL, "v1")
    assert [request.path for request in server.requests] == [f"/api/models/{MODEL}/revision/v1"]
    server.requests.clear()
    hub.fetch(MODEL)
    assert len(server.requested("/api/models")) == 1


def test_only_what_a_model_needs_is_fetched_and_it_can_be_loaded(server: FakeHub) -> None:
    folder = hub.fetch(MODEL).folder
    assert names(folder) == {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "model.safetensors"}
    assert not [request for request in server.requests if request.path.endswith((".bin", ".h5", ".gitattributes"))]
    safety.check_folder(folder)


def test_a_model_with_only_a_pickle_is_refused_before_anything_is_fetched(server: FakeHub, tmp_path: Path) -> None:
    line = fails(Refused, lambda: hub.fetch(PICKLED))
    assert line == f"'{PICKLED}' has its weights only as a pickle ('pytorch_model.bin'), which can run code. {safety.CONVERT}"
    assert server.requested("/resolve/") == server.requested("/resolve/", "HEAD") == []
    assert not (tmp_path / "hub").exists()


def test_the_name_of_a_branch_moves_only_when_it_is_fetched_whole(server: FakeHub) -> None:
    old = hub.fetch(MODEL)
    branches = server.repos["model", MODEL]
    branches["main"] = {**branches["main"], "README.md": b"# New", "model.safetensors": weights(LARGE + 1)}
    assert hub.cached(MODEL, "main") == old
    server.break_off("model.safetensors", 1000, reset=True)
    fails(HubUnreachable, lambda: hub.fetch(MODEL, "main"))
    assert hub.cached(MODEL, "main") == old
    server.heal()
    new = hub.fetch(MODEL, "main")
    assert new.revision == server.revision("model", MODEL) != old.revision
    assert hub.cached(MODEL) == new
    assert hub.cached(MODEL, old.revision) == old


def test_hf_xet_is_not_used(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    server.xet = True
    folder = hub.fetch(MODEL).folder
    assert server.requested("xet-token") == []
    safety.check_folder(folder)


def test_a_token_is_sent(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fetch(MODEL)
    assert {request.token for request in server.requests if "agent" not in request.path} == {"Bearer hf_secret"}


@pytest.mark.parametrize("repo, revision", [("model", ""), ("a/b/c", ""), ("../b", ""), ("a/b", "../../x"), ("a/b", "/x")])
def test_invalid_repository_id_touches_neither_disk_nor_network(
    server: FakeHub, tmp_path: Path, repo: str, revision: str
) -> None:
    with no_socket():
        assert hub.cached(repo, revision) is None
        assert "is no repository id" in fails(UsageError, lambda: hub.fetch(repo, revision))
        fails(UsageError, lambda: hub.ask_revision(repo, revision))
    assert not (tmp_path / "hub").exists()


def test_a_branch_name_does_not_lead_out_of_refs(server: FakeHub, tmp_path: Path) -> None:
    found = hub.fetch(MODEL)
    (storage(tmp_path) / "elsewhere").write_text(found.revision)
    assert hub.cached(MODEL, "../elsewhere") is None
    assert hub.cached(MODEL, str(storage(tmp_path) / "elsewhere")) is None


# What counts as complete


@pytest.mark.parametrize(
    "missing",
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ],
)
def test_interrupted_download_of_a_model_is_incomplete(server: FakeHub, tmp_path: Path, missing: str) -> None:
    server.break_off(missing, 1, reset=True)
    fails(HubUnreachable, lambda: hub.fetch(SHARDED))
    folder = storage(tmp_path, SHARDED)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(server.revision("model", SHARDED))  # another tool may have written it first
    (folder / "blobs" / "abc.1234abcd.incomplete").write_bytes(b"what a killed process leaves")
    with no_socket():
        assert hub.cached(SHARDED) is None
    server.heal()
    assert hub.cached(SHARDED) is None
    assert hub.cached(SHARDED, hub.fetch(SHARDED).revision) is not None


@pytest.mark.parametrize(
    "missing", ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
)
def test_cache_of_another_tool_is_judged_by_its_files(server: FakeHub, tmp_path: Path, missing: str) -> None:
    commit = server.revision("model", SHARDED)
    for name in server.repos["model", SHARDED]["main"]:
        if name not in ("README.md", "tokenizer_config.json", ".gitattributes"):
            huggingface_hub.hf_hub_download(SHARDED, name)
    assert not (storage(tmp_path, SHARDED) / ".hftool").exists()
    found = hub.cached(SHARDED)
    assert found is not None and found.revision == commit
    (found.folder / missing).unlink()
    assert hub.cached(SHARDED) is None


def test_a_pickle_in_the_cache_is_no_model(server: FakeHub) -> None:
    for name in server.repos["model", PICKLED]["main"]:
        huggingface_hub.hf_hub_download(PICKLED, name)
    assert hub.cached(PICKLED) is None


def test_deleted_blob_makes_the_cache_incomplete(server: FakeHub) -> None:
    folder = hub.fetch(MODEL).folder
    (folder / "tokenizer_config.json").resolve().unlink()
    assert hub.cached(MODEL) is None
    hub.fetch(MODEL)
    assert hub.cached(MODEL) is not None


# Data sets


def test_a_part_of_a_data_set_fetches_only_its_folder(server: FakeHub) -> None:
    part = hub.fetch(DATA, kind="dataset", part="sst2")
    assert names(part.folder) == {"README.md", "sst2/train.parquet", "sst2/test.parquet"}
    with no_socket():
        assert hub.cached(DATA, kind="dataset", part="sst2") == part
        assert hub.cached(DATA, kind="dataset", part="cola") is None
        assert hub.cached(DATA, kind="dataset") is None
        assert hub.cached(DATA) is None


def test_the_whole_data_set_covers_every_part(server: FakeHub) -> None:
    whole = hub.fetch(DATA, kind="dataset")
    assert names(whole.folder) == {"README.md", "sst2/train.parquet", "sst2/test.parquet", "cola/train.csv"}
    with no_socket():
        for part in ("", "sst2", "cola"):
            assert hub.cached(DATA, kind="dataset", part=part) == whole


def test_a_data_set_without_its_marker_is_not_complete(server: FakeHub, tmp_path: Path) -> None:
    hub.fetch(DATA, kind="dataset", part="sst2")
    markers = list((storage(tmp_path, DATA, "dataset") / ".hftool").iterdir())
    assert len(markers) == 1
    for damage in ("", "{", "3"):
        markers[0].write_text(damage)
        assert hub.cached(DATA, kind="dataset", part="sst2") is None
    markers[0].unlink()
    assert hub.cached(DATA, kind="dataset", part="sst2") is None
    hub.fetch(DATA, kind="dataset", part="sst2")
    assert hub.cached(DATA, kind="dataset", part="sst2") is not None


def test_interrupted_download_of_a_data_set_is_incomplete(server: FakeHub) -> None:
    server.break_off("sst2/train.parquet", 3, reset=True)
    fails(HubUnreachable, lambda: hub.fetch(DATA, kind="dataset", part="sst2"))
    assert hub.cached(DATA, server.revision("dataset", DATA), kind="dataset", part="sst2") is None


def test_unknown_part_has_a_suggestion(server: FakeHub) -> None:
    line = fails(UsageError, lambda: hub.fetch(DATA, kind="dataset", part="sst3"))
    assert line == f"{DATA} has no data files in 'sst3'. Did you mean 'sst2'?"
    assert "It has 'cola', 'sst2'" in fails(UsageError, lambda: hub.fetch(DATA, kind="dataset", part="xyz"))
    server.repos["dataset", DATA]["main"] = {"loader.py": b"print()"}
    assert "has no data files" in fails(UsageError, lambda: hub.fetch(DATA, kind="dataset"))


def test_a_file_name_that_leads_out_of_the_cache_is_refused(server: FakeHub, tmp_path: Path) -> None:
    server.repos["model", MODEL]["main"] = {"../../../../evil.json": b"{}"}
    fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert not list(tmp_path.rglob("evil*"))


# A download that breaks off


def test_interrupted_download_is_resumed(server: FakeHub) -> None:
    server.break_off("model.safetensors", 1000, times=None)
    line = fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert line == (
        f"the download of {MODEL} broke off: no more data arrives. Type the command again: the files that arrived whole are kept"
    )
    server.heal()
    found = hub.fetch(MODEL)
    assert [request.path.rpartition("/")[2] for request in server.requested("/resolve/")] == ["model.safetensors"]
    assert (found.folder / "model.safetensors").read_bytes() == weights(LARGE)
    assert hub.cached(MODEL) == found


def test_short_interruption_continues_with_a_range_request(server: FakeHub) -> None:
    for location in (100_000, 70_000, 10):  # the last brings less than a chunk, so the same bytes are asked for twice
        server.break_off("model.safetensors", location)
    found = hub.fetch(MODEL)
    ranges = [request.range for request in server.requested("/resolve/") if request.path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=65536-", "bytes=131072-", "bytes=131072-"]
    assert (found.folder / "model.safetensors").read_bytes() == weights(LARGE)


def test_a_reset_connection_is_one_line(server: FakeHub) -> None:
    server.break_off("model.safetensors", 1000, reset=True)
    with within(1):
        assert "broke off: ReadError(" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


@pytest.mark.parametrize("where", ["in a file", "before a file", "refused"])
def test_network_failure_during_a_download_does_not_hang(server: FakeHub, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    if where == "in a file":
        server.stall("model.safetensors", 1000)
    elif where == "before a file":
        server.fall_silent("/resolve/")
    else:
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with within(4):
        assert "broke off" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


@pytest.mark.parametrize("status", [429, 500, 503, 404])
def test_busy_hub_is_not_retried(server: FakeHub, status: int) -> None:
    server.answer(status, "/resolve/", headers={"Retry-After": "300"})
    with within(2):
        assert f"broke off: HTTP {status}. " in fails(HubUnreachable, lambda: hub.fetch(MODEL))


@pytest.mark.parametrize("status", [401, 403])
def test_gated_repository_has_a_hint(server: FakeHub, status: int) -> None:
    server.answer(status, "/resolve/", headers={"X-Error-Code": "GatedRepo"})
    line = fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert line == f"the download of {MODEL} broke off: HTTP {status}. {hub.ACCESS}"


def test_unwritable_cache_is_a_storage_error(server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "cache cannot be written" in fails(StorageError, lambda: hub.fetch(MODEL))


def test_state_of_huggingface_hub_is_restored(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[object, ...]:
        hooks = huggingface_hub.get_session().event_hooks
        return (
            constants.HF_HUB_DISABLE_XET,
            constants.DOWNLOAD_CHUNK_SIZE,
            list(hooks["request"]),
            list(hooks["response"]),
            logging.getLogger("huggingface_hub").level,
        )

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 12345)
    before = state()
    hub.fetch(MODEL)
    assert state() == before
    server.answer(500, "/resolve/")
    fails(HubUnreachable, lambda: hub.fetch(SHARDED))
    assert state() == before


# No answer, or none that can be used


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "http://[", "http://127.0.0.1:9", "no-url"])
def test_missing_network_is_detected_within_the_timeout(server: FakeHub, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    lead(monkeypatch, url)
    with within(hub.TIMEOUT + 1):
        line = fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert line.startswith(f"{MODEL} is not in the cache and {url} does not answer")


def test_refused_connection_fails_at_once(server: FakeHub) -> None:
    server.close()
    with within(1):
        assert "does not answer" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


def test_silent_server_times_out(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    server.fall_silent()
    with within(hub.TIMEOUT + 1):
        assert "does not answer" in fails(HubUnreachable, lambda: hub.ask_revision(MODEL))
    assert len(server.requests) == 1


def test_dropped_connection_attempts_time_out(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # its queue is full, so the next connection is neither taken nor refused
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        lead(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with within(1.5):
            assert "does not answer" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


def test_slow_name_resolution_times_out(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> list[Any]:
        time.sleep(5)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with within(1.5):
        assert "does not answer" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


def test_trickling_response_times_out(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SLOW", 0.5)
    server.stall("models", 10)
    with within(1.5):
        assert "does not answer" in fails(HubUnreachable, lambda: hub.fetch(MODEL))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_is_not_there_is_named(server: FakeHub, status: int) -> None:
    server.answer(status)
    line = fails(HubUnreachable, lambda: hub.fetch(MODEL, "v9"))
    assert line == f"the Hub has no {MODEL}@v9, or it is private (HTTP {status}). {hub.ACCESS}"


def test_missing_repository_and_revision_are_named(server: FakeHub) -> None:
    assert "the Hub has no ann/nothing, or" in fails(HubUnreachable, lambda: hub.fetch("ann/nothing"))
    assert f"the Hub has no {MODEL}@v9, or" in fails(HubUnreachable, lambda: hub.fetch(MODEL, "v9"))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_in_trouble_is_one_line(server: FakeHub, status: int) -> None:
    server.answer(status, body=json.dumps({"sha": COMMIT, "siblings": []}).encode())
    with within(2):
        line = fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert line == f"the Hub answered HTTP {status} for {MODEL}. Try again later"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>\x1b[2J\nLog in</html>",
        b"[]",
        b"{}",
        b'{"sha": "main", "siblings": []}',
        b"\xff",
        b'{"sha": "../../x", "siblings": []}',
        b'{"sha": null, "siblings": 3}',
        b"",
    ],
)
def test_response_without_a_revision_is_refused(server: FakeHub, tmp_path: Path, body: bytes) -> None:
    server.answer(200, body=body)
    assert f"as the revision of {MODEL}" in fails(HubUnreachable, lambda: hub.fetch(MODEL))
    assert not (tmp_path / "hub").exists()


def test_response_with_another_commit_is_refused(server: FakeHub) -> None:
    server.answer(200, "/api/", body=json.dumps({"sha": "a" * 40, "siblings": []}).encode())
    assert "as the revision of" in fails(HubUnreachable, lambda: hub.fetch(MODEL, COMMIT))


def test_offline_opens_no_socket(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hub.fetch(MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with no_socket():
        assert hub.cached(MODEL) == found
        assert "HF_HUB_OFFLINE is set" in fails(HubUnreachable, lambda: hub.fetch(SHARDED))
        fails(HubUnreachable, lambda: hub.ask_revision(SHARDED))


# As its own process


FETCH = "from hftool import hub; print(hub.fetch('ann/model').revision)"


def test_environment_variables_are_respected_and_nothing_is_printed(server: FakeHub, tmp_path: Path) -> None:
    server.break_off("model.safetensors", 1000)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FETCH],
        env=os.environ | server.environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == server.revision("model", MODEL)
    assert (tmp_path / "home" / "hub" / "models--ann--model" / "refs" / "main").is_file()


def test_ctrl_c_aborts_a_download_at_once(server: FakeHub, tmp_path: Path) -> None:
    server.stall("model.safetensors", 1000)
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job ignores it
    process = subprocess.Popen(
        [sys.executable, "-c", listen + FETCH],
        env=os.environ | server.environment(tmp_path / "home"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not [r for r in server.requested("/resolve/") if r.path.endswith("model.safetensors")]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait(3)
    finally:
        process.kill()
        process.wait()
    assert not list((tmp_path / "home").rglob("*.incomplete"))
