"""push, against a Hub on loopback and with the real huggingface_hub."""

import json
import shutil

import pytest

from conftest import one_line
from hftool import workflow
from hftool.errors import DataError, HubUnreachable, Refused, UsageError
from hftool.models.sha256sums import SUMS, verify_checksums
from hftool.storage.checksums import sha256
from support.hub_env import led_hub

REPO = ("model", "ann/films")


@pytest.fixture
def run(tiny_run, tmp_path):
    result = shutil.copytree(tiny_run, tmp_path / "run")
    (result / "rejected.jsonl").write_text('{"raw": "a secret"}\n')
    (result / ".lock").write_text("1")
    return result


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with led_hub({}, monkeypatch, tmp_path / "home", token="hf_writer") as running:
        yield running


def test_the_models_files_go_in_one_commit_and_nothing_else(run, hub):
    done = workflow.push(run, "ann/films")
    there = hub.repos[REPO]["main"]
    assert set(there) == {path.name for path in (run / "model").iterdir()} | {".gitattributes"}
    assert all(there[path.name] == path.read_bytes() for path in (run / "model").iterdir())
    assert REPO in hub.private and hub.commits == ["hftool: sst2"]
    assert done.revision == hub.revision(*REPO) and len(done.revision) == 40
    assert done.url == f"{hub.url}/ann/films"
    assert not any("secret" in str(body) for body in there.values())


def test_a_push_is_noted_in_the_run(run, hub):
    done = workflow.push(run, "ann/films")
    [line] = [json.loads(line) for line in (run / "pushed.jsonl").read_text().splitlines()]
    assert line["revision"] == done.revision and line["repo"] == "ann/films" and line["url"] == done.url
    assert line["sums"] == sha256(run / "model" / SUMS)


def test_what_was_pushed_can_be_fetched_asked_and_verified(run, hub, tmp_path):
    texts = ["a warm funny film", "a cold dull film"]
    expected = workflow.infer(str(run), texts)
    done = workflow.push(run, "ann/films")
    assert workflow.infer(f"ann/films@{done.revision}", texts) == expected
    folder = workflow.info(f"ann/films@{done.revision}", offline=True)["folder"]
    shutil.copytree(folder, tmp_path / "clone")
    missing = set(verify_checksums(run / "model")) - {path.name for path in (tmp_path / "clone").iterdir()}
    assert missing == set()


def test_public_only_with_the_option(run, hub):
    workflow.push(run, "ann/films", public=True)
    assert REPO not in hub.private
    with pytest.raises(UsageError, match="ann/films is there already and is public") as caught:
        workflow.push(run, "ann/films")
    assert len(hub.commits) == 1 and "--public" in caught.value.hint


def test_a_second_push_is_a_second_commit(run, hub, tmp_path):
    workflow.push(run, "ann/films")
    saved = workflow.save(run, out=tmp_path / "saved", checkpoint="step-000004")
    done = workflow.push(saved, "ann/films")
    assert len(hub.commits) == 2 and done.revision == hub.revision(*REPO)
    assert not (saved / "pushed.jsonl").exists()
    verify_checksums(saved)


def test_dry_run_shows_all_and_opens_no_socket(run, hub, cli):
    code, out, err = cli("push", run, "ann/films", "--dry-run")
    assert code == 0 and hub.requests == [] and hub.repos == {}
    for path in (run / "model").iterdir():
        assert f"{sha256(path)}  {path.stat().st_size:>13,}  {path.name}\n" in out
    assert out.splitlines()[-1] == f"would go to ann/films (private): {len(out.splitlines()) - 1} files; nothing was sent"
    assert "checkpoints" not in out and "rejected" not in out and "log.jsonl" not in out
    assert "hftool.json names paths of this machine" in err  # where the base model lay


def test_the_verb_prints_address_and_revision(run, hub, cli, monkeypatch):
    code, out, err = cli("push", run, "ann/films", "-q")
    assert (code, err) == (0, "")
    assert out == f"pushed    {hub.url}/ann/films\nrevision  {hub.revision(*REPO)}\n"
    document = json.loads(cli("push", run, "ann/films", "--json")[1])
    assert document["revision"] == hub.revision(*REPO) and document["public"] is False


def test_without_a_token_nothing_is_asked(run, hub, monkeypatch, cli):
    monkeypatch.delenv("HF_TOKEN")
    code, out, err = cli("push", run, "ann/films")
    assert (code, out) == (77, "") and hub.requests == []
    assert "there is no token of the Hub on this machine. Type `hf auth login`, or set HF_TOKEN" in err


def test_a_token_that_is_not_known_or_may_not_write_is_77(run, hub, monkeypatch):
    hub.answer(403, "/api/repos/create")
    with pytest.raises(Refused, match=r"does not let this token write to ann/films \(HTTP 403\)"):
        workflow.push(run, "ann/films")
    hub.heal()
    hub.answer(403, "/commit/")
    with pytest.raises(Refused, match="does not let this token write"):
        workflow.push(run, "ann/films")
    hub.heal()
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(Refused, match=r"does not know this token \(HTTP 401\)") as caught:
        workflow.push(run, "ann/films")
    assert "hf_other" not in str(caught.value)
    assert hub.commits == [] and not (run / "pushed.jsonl").exists()


@pytest.mark.parametrize("where", ["/api/whoami-v2", "/api/repos/create", "/preupload/", "/commit/"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_69_at_once(run, hub, where, status):
    hub.answer(status, where)
    with pytest.raises(HubUnreachable, match=f"HTTP {status}"):
        workflow.push(run, "ann/films")
    assert len([r for r in hub.requests if where in r.path]) == 1 and hub.commits == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"commitOid": "main", "commitUrl": "x"}', b""])
def test_an_answer_that_names_no_commit_is_69(run, hub, body):
    hub.answer(200, "/commit/", body=body)
    with pytest.raises(HubUnreachable):
        workflow.push(run, "ann/films")
    assert not (run / "pushed.jsonl").exists()


def test_no_hub_is_69(run, hub):
    hub.close()
    with pytest.raises(HubUnreachable, match="does not answer"):
        workflow.push(run, "ann/films")


def test_a_file_that_changed_is_not_pushed(run, hub):
    with open(run / "model" / "config.json", "a") as handle:
        handle.write(" ")
    with pytest.raises(DataError, match="config.json changed"):
        workflow.push(run, "ann/films")
    (run / "model" / "config.json").write_text((run / "model" / "config.json").read_text()[:-1])
    (run / "model" / "passwords.txt").write_text("x")
    with pytest.raises(DataError, match="passwords.txt added"):
        workflow.push(run, "ann/films")
    assert hub.requests == []


@pytest.mark.parametrize("repo", ["films", "ann/films@main", "a/b/c", "../b", "ann/", ""])
def test_a_wrong_name_is_2_before_anything_is_read(tmp_path, hub, repo):
    with pytest.raises(UsageError, match="is no repository id"):
        workflow.push(tmp_path / "none", repo)


def test_an_unfinished_run_has_nothing_to_push(run, hub, cli):
    (run / "metrics.json").unlink()
    code, _, err = cli("push", run, "ann/films")
    assert code == 78 and "is not finished and has no model yet. Save its best checkpoint, and push that" in one_line(err)
